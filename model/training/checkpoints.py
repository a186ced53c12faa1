"""Saving and resuming training: safetensors shards of at most 15 MiB beside one JSON file."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

SHARD_BYTES = 15 * 2**20


def save(folder: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `tensors` and `meta` into `folder` so that a cut at any moment leaves the old state.

    The shards carry the step in their names and the JSON file, replaced last, names the shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = tensor.detach().cpu().contiguous()
        room -= size
    names = [f"state-{meta['step']:07d}-{i}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name)
    partial = folder / "state.json.part"
    partial.write_text(json.dumps({**meta, "shards": names}, indent=1))
    partial.replace(folder / "state.json")
    for old in folder.glob("state-*.safetensors"):
        if old.name not in names:
            old.unlink()


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last complete state in `folder`, or None when there is none.

    Raises ValueError naming the file when a shard is missing or damaged.
    """
    index = folder / "state.json"
    if not index.exists():
        return None
    meta = json.loads(index.read_text())
    tensors: dict[str, Tensor] = {}
    for name in meta["shards"]:
        try:
            tensors |= load_file(folder / name)
        except (OSError, SafetensorError) as error:
            message = f"{folder / name}: {error}. Delete the folder to start the stage afresh."
            raise ValueError(message) from error
    return tensors, meta
