"""Saving and resuming training: safetensors shards of at most 15 MiB beside one JSON file."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

SHARD_BYTES = 15 * 2**20
#: What a shard says of each tensor beside its name takes less.
SAID_BYTES = 128
#: The last state, and the one before it.
INDEX, BEFORE = "state.json", "before.json"


def save(folder: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `tensors` and `meta` into `folder` so that a cut at any moment leaves the old state.

    The shards carry the step in their names and the JSON file, replaced last, names the shards. The
    state before this one is kept, in case this one is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size() + len(name) + SAID_BYTES
        if size > room and shards[-1]:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = tensor.detach().cpu().contiguous()
        room -= size
    names = [f"state-{meta['step']:07d}-{i}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name)
    index, before = folder / INDEX, folder / BEFORE
    partial = folder / f"{INDEX}.part"
    partial.write_text(json.dumps({**meta, "shards": names}, indent=1))
    if index.exists():
        index.replace(before)
    partial.replace(index)
    states = [json.loads(found.read_text()) for found in (index, before) if found.exists()]
    kept = {name for state in states for name in state["shards"]}
    for old in folder.glob("state-*.safetensors"):
        if old.name not in kept:
            old.unlink()


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last whole state in `folder`, or None when there is none.

    Says which file is missing or damaged; raises ValueError when no state is whole.
    """
    index, damage = folder / INDEX, ""
    for found in (index, folder / BEFORE):
        if not found.exists():
            continue
        try:
            tensors, meta = _read(found)
        except ValueError as error:
            damage = damage or str(error)
            continue
        if damage:
            print(f"{damage}. Going on from the state before it, of step {meta['step']}.")
        found.replace(index)
        return tensors, meta
    if damage:
        raise ValueError(f"{damage}. Delete the folder to start the stage afresh.")
    return None


def _read(index: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state that an index names; ValueError with the file that is missing or damaged."""
    file = index
    tensors: dict[str, Tensor] = {}
    try:
        meta = json.loads(index.read_text())
        for name in meta["shards"]:
            file = index.parent / name
            tensors |= load_file(file)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{file}: missing or damaged ({error})") from error
    return tensors, meta
