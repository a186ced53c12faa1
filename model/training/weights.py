"""Reading a stage's exported autoencoder for the stages after it."""

import json
from pathlib import Path

import torch

from model.checkpoint import load_vae as load_module
from model.vae import VAE, VAEConfig


def load_vae(target: Path) -> VAE:
    """The fp32 autoencoder in `target`/vae, as the vae stage exported it."""
    described = json.loads((target / "vae" / "config.json").read_text())
    known = {k: described[k] for k in VAEConfig.__slots__ if k in described}
    config = VAEConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})
    return load_module(target / "vae", config, dtype=torch.float32)
