"""Reading what a stage made for the stages after it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.checkpoint import load_vae as load_module
from model.vae import VAE, VAEConfig


def read(path: Path) -> dict[str, Tensor]:
    """The tensors in a file; ValueError if it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: is damaged ({error}); delete it to make it again") from error


def load_vae(target: Path) -> VAE:
    """The fp32 autoencoder in `target`/vae, as the vae stage exported it."""
    described = described_vae(target)
    known = {k: _frozen(described[k]) for k in VAEConfig.__slots__ if k in described}
    return load_module(target / "vae", VAEConfig(**known), dtype=torch.float32)


def described_vae(target: Path) -> dict[str, Any]:
    """The configuration of that autoencoder."""
    path = target / "vae" / "config.json"
    if not path.exists():
        raise ValueError(f"{path}: no autoencoder; run the vae stage first")
    return json.loads(path.read_text())


def _frozen(value: Any) -> Any:
    """A list of JSON as the tuple that a frozen record holds."""
    return tuple(value) if isinstance(value, list) else value
