"""Weights from a checkpoint folder into modules: strict, without a second copy in memory.

Modules are built on the meta device and take the loaded tensors over as they are, so weights that
need no conversion stay memory-mapped and the rest is converted one tensor at a time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from model.lora import Addition, Lora, merge, read_additions
from model.shards import CheckpointError, Entry, header, open_shards, read_tensors
from model.transformer import FLOAT32_MODULES, Transformer, TransformerConfig
from model.upsampler import Upsampler, UpsamplerConfig
from model.vae import VAE, VAEConfig

__all__ = ["CheckpointError", "load_transformer", "load_upsampler", "load_vae", "weight_bytes"]

#: Parameters of the original checkpoints that no computation ever used.
UNUSED = "norm_added_q"
#: The folders whose weights are loaded; whatever else lies beside them (LoRAs) is not counted.
PARTS = ("transformer", "transformer_2", "vae", "text_encoder", "image_encoder", "upsampler")
#: Those that meet pixels, in a dtype of their own.
PIXELS = ("vae", "upsampler")
#: Keys named in an error message before it says how many more there are.
SHOWN = 4

Module = TypeVar("Module", bound=nn.Module)


def load_transformer(
    folder: Path,
    config: TransformerConfig,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    loras: Iterable[Lora] = (),
) -> Transformer:
    """The transformer in `folder` (`transformer/`, `transformer_2/`), frozen, `loras` merged.

    With a `dtype` below float32 the modules in FLOAT32_MODULES are float32 all the same.
    """
    with torch.device("meta"):
        module = Transformer(config)
    entries = {k: v for k, v in open_shards(folder).items() if UNUSED not in k.split(".")}
    additions = read_additions(loras, _shapes(module))
    return _fill(module, folder, entries, device, dtype, FLOAT32_MODULES, additions)


def load_vae(
    folder: Path,
    config: VAEConfig,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VAE:
    """The autoencoder in `folder` (`vae/`), frozen."""
    with torch.device("meta"):
        module = VAE(config)
    return _fill(module, folder, open_shards(folder), device, dtype, (), {})


def load_upsampler(
    folder: Path,
    config: UpsamplerConfig,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Upsampler:
    """The network in `folder` (`upsampler/`), frozen."""
    with torch.device("meta"):
        module = Upsampler(config)
    return _fill(module, folder, open_shards(folder), device, dtype, (), {})


def weight_bytes(folder: Path, dtype: torch.dtype, vae_dtype: torch.dtype = torch.float32) -> int:
    """Bytes of all weights of a checkpoint when they are loaded; only headers are read."""
    return sum(
        math.prod(entry.shape) * (vae_dtype if part in PIXELS else dtype).itemsize
        for part in PARTS
        for path in (folder / part).glob("*.safetensors")  # encoders' files have their own names
        for entry in header(path).values()
    )


def _fill(
    module: Module,
    folder: Path,
    entries: dict[str, Entry],
    device: torch.device | str,
    dtype: torch.dtype,
    kept: tuple[str, ...],
    additions: Mapping[str, Sequence[Addition]],
) -> Module:
    _check(module, folder, entries)
    state = {}
    for key, stored in read_tensors(entries):
        # On the host, wherever the weights go: the same bits on each device, offloaded or not.
        tensor = merge(stored, additions[key]) if key in additions else stored
        keep = any(part in kept for part in key.split("."))
        wanted = torch.promote_types(dtype, torch.float32) if keep else dtype
        state[key] = tensor.to(device, wanted)
    module.load_state_dict(state, strict=True, assign=True)
    return module.requires_grad_(False).eval()


def _check(module: nn.Module, folder: Path, entries: dict[str, Entry]) -> None:
    expected = _shapes(module)
    faults = {
        "lacks": sorted(expected.keys() - entries.keys()),
        "has, beyond what config.json describes,": sorted(entries.keys() - expected.keys()),
    }
    for fault, keys in faults.items():
        if keys:
            listed = ", ".join(keys[:SHOWN])
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            where = folder if fault == "lacks" else entries[keys[0]].file
            raise CheckpointError(f"{where}: {fault} {listed}{more}")
    for key, shape in expected.items():
        if entries[key].shape != shape:
            raise CheckpointError(
                f"{entries[key].file}: {key} has shape {list(entries[key].shape)}; "
                f"config.json asks for {list(shape)}"
            )


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
