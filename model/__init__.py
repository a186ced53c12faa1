"""Wan-compatible latent video diffusion: `Pipeline`, what to ask it, and what can go wrong."""

from model.pipeline import Pipeline
from model.request import Request
from model.shards import CheckpointError

__all__ = ["CheckpointError", "Pipeline", "Request"]
