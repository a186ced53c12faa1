"""Reading a stage's exported autoencoder for the stages after it."""

import json
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import load_vae as load_module
from model.vae import VAE, VAEConfig


def load_vae(target: Path) -> VAE:
    """The fp32 autoencoder in `target`/vae, as the vae stage exported it."""
    described: dict[str, Any] = json.loads((target / "vae" / "config.json").read_text())
    known = {k: _frozen(described[k]) for k in VAEConfig.__slots__ if k in described}
    return load_module(target / "vae", VAEConfig(**known), dtype=torch.float32)


def _frozen(value: Any) -> Any:
    """A list of JSON as the tuple that a frozen record holds."""
    return tuple(value) if isinstance(value, list) else value
