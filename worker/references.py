"""A job's images and videos, from storage to what the model takes."""

import io
import subprocess
from pathlib import Path

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import torch
from PIL import Image

from app.contract.blobs import Blobs

#: Reading a clip takes longer than this only when ffmpeg hangs.
TIMEOUT_S = 600


def read_image(key: str | None, blobs: Blobs) -> Image.Image | None:
    """The image stored under `key`, in RGB."""
    if key is None:
        return None
    return Image.open(io.BytesIO(blobs.get(key))).convert("RGB")


def read_video(
    key: str | None, blobs: Blobs, width: int, height: int, frames: int, scratch: Path
) -> torch.Tensor | None:
    """The first `frames` frames of the MP4 stored under `key`, uint8 `[f, h, w, 3]`, scaled to the
    size. Raises ValueError when it is no video or too short.
    """
    if key is None:
        return None
    path = scratch / "reference.mp4"
    with path.open("wb") as file:
        file.writelines(blobs.stream(key))
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error",
        "-protocol_whitelist", "file,pipe", "-f", "mov", "-i", str(path), "-map", "0:v:0",
        "-frames:v", str(frames), "-vf", f"scale={width}:{height}:flags=bicubic",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S)
    found = len(run.stdout) // (width * height * 3)
    if run.returncode or found < frames:
        raise ValueError(f"video: has {found} readable frames, and {frames} are needed")
    pixels = np.frombuffer(bytearray(run.stdout), np.uint8)
    return torch.from_numpy(pixels).reshape(frames, height, width, 3)
