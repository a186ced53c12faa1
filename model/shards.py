"""The safetensors files of one component of a checkpoint: what they hold, and reading it.

A component is a folder with `config.json` and either one `<stem>.safetensors` or shards that
`<stem>.safetensors.index.json` lists. Anything unusual is a CheckpointError that names the file.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = [
    "CheckpointError",
    "Entry",
    "header",
    "open_shards",
    "read_json",
    "read_tensors",
    "refuse_unknown",
]

STEM = "diffusion_pytorch_model"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
DTYPES = ("F64", "F32", "F16", "BF16")


class CheckpointError(Exception):
    """A checkpoint that cannot be used; says which file, which key and what would be right."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies, which shape it has, and its dtype as safetensors names it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing; a checkpoint needs this file") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: must hold a JSON object, not a {type(value).__name__}")
    return value


def refuse_unknown(where: Path | str, said: Iterable[str], known: Iterable[str]) -> None:
    """Raise CheckpointError for a key that nothing would read: it is misspelled."""
    known = list(known)
    for key in said:
        if key not in known:
            raise CheckpointError(f"{where}: {key} is none of its keys: {', '.join(known)}")


def open_shards(folder: Path) -> dict[str, Entry]:
    """Every tensor of a component by its key; reads headers only."""
    index = folder / f"{STEM}.safetensors.index.json"
    if not index.exists():
        return _floats(_single_file(folder))
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index}: needs a 'weight_map' from keys to files")
    entries: dict[str, Entry] = {}
    for name in sorted(set(map(str, weight_map.values()))):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index}: {name!r} is not a safetensors file beside it")
        if not (folder / name).exists():
            raise CheckpointError(f"{folder / name}: missing; {index.name} lists it as a shard")
        for key, entry in _floats(folder / name).items():
            if weight_map.get(key) != name:
                raise CheckpointError(
                    f"{folder / name}: holds {key!r}, {index.name} does not say so"
                )
            entries[key] = entry
    for key in weight_map.keys() - entries.keys():
        raise CheckpointError(
            f"{folder / weight_map[key]}: lacks {key!r}, which {index.name} lists"
        )
    return entries


def read_tensors(entries: dict[str, Entry]) -> Iterator[tuple[str, Tensor]]:
    """The tensors one by one, memory-mapped: untouched ones take no memory of their own."""
    for file in sorted({entry.file for entry in entries.values()}):
        with safe_open(file, framework="pt", device="cpu") as shard:
            for key in shard.keys():  # noqa: SIM118 (not a dict)
                if key in entries:
                    yield key, shard.get_tensor(key)


def _single_file(folder: Path) -> Path:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: missing; a checkpoint needs this folder")
    path = folder / f"{STEM}.safetensors"
    if path.exists():
        return path
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles:
        raise CheckpointError(
            f"{folder / pickles[0]}: pickle files can run code and are never loaded; "
            f"convert the weights to {path.name}"
        )
    raise CheckpointError(f"{path}: missing; no {path.name} and no {path.name}.index.json")


def _floats(path: Path) -> dict[str, Entry]:
    """The same as `header`; CheckpointError if something is none of `DTYPES`."""
    entries = header(path)
    for key, entry in entries.items():
        if entry.dtype not in DTYPES:
            raise CheckpointError(
                f"{path}: {key!r} is {entry.dtype}; weights must be one of {', '.join(DTYPES)}"
            )
    return entries


def header(path: Path) -> dict[str, Entry]:
    """Every tensor of one file by its key; CheckpointError if it is not whole."""
    try:
        with safe_open(path, framework="pt", device="cpu") as shard:
            slices = {key: shard.get_slice(key) for key in shard.keys()}  # noqa: SIM118
            return {
                key: Entry(path, tuple(s.get_shape()), s.get_dtype()) for key, s in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); copy it again"
        ) from error
