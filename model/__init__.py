"""Wan-compatible latent video diffusion: `Pipeline`, what to ask it, and what can go wrong."""

from model.pipeline import Pipeline
from model.place import frames_done
from model.progress import Progress
from model.request import Request, Shot
from model.shards import CheckpointError

__all__ = ["CheckpointError", "Pipeline", "Progress", "Request", "Shot", "frames_done"]
