"""Frames of an MP4, through ffmpeg: all of them, the last ones, or some that are evenly spread."""

import subprocess
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import torch

from worker.encode import Frames
from worker.failures import DecodeError

#: Frames that are read at a time.
CHUNK = 8


def frames_of(
    path: Path, width: int, height: int, frames: int, field: str, *, shown: int | None = None
) -> Iterator[Frames]:
    """The first `frames` frames, uint8 `[f, h, w, 3]`, scaled to the size, a few at a time; or
    `shown` of them, evenly spread from the first on.

    Raises ValueError, naming the request's `field`, when it is no video or too short, and
    DecodeError when ffmpeg was killed.
    """
    wanted = frames if shown is None else shown
    # ffmpeg counts what it let through: the next one is frame number (count * frames / shown).
    spread = f"select='gte(n,floor(selected_n*{frames}/{wanted}))'," if wanted < frames else ""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error",
        "-protocol_whitelist", "file,pipe", "-f", "mov", "-i", str(path), "-map", "0:v:0",
        "-vf", f"{spread}scale={width}:{height}:flags=bicubic", "-frames:v", str(wanted),
        "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1",
    ]  # fmt: skip
    found = 0
    size = width * height * 3
    for data in _output(command, CHUNK * size):
        count = len(data) // size
        found += count
        yield np.frombuffer(data, np.uint8, count * size).reshape(count, height, width, 3)
    if found < wanted:
        raise ValueError(f"{field}: has {found} readable frames, and {wanted} are needed")


def _output(command: list[str], size: int) -> Generator[bytearray]:
    """What a program writes, in pieces of `size` bytes but for the last."""
    program = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert program.stdout is not None
    try:
        with program.stdout as pipe:
            while data := pipe.read(size):
                yield bytearray(data)
        if (status := program.wait()) < 0:
            raise DecodeError(f"ffmpeg was ended by signal {-status}")
    finally:
        program.kill()
        program.wait()


def read_all(chunks: Iterator[Frames], shape: tuple[int, int, int, int]) -> torch.Tensor:
    """All frames as one tensor of this shape, uint8 `[f, h, w, 3]`."""
    video = torch.empty(shape, dtype=torch.uint8)
    place = 0
    for chunk in chunks:
        video[place : place + len(chunk)] = torch.from_numpy(chunk)
        place += len(chunk)
    return video


def read_end(chunks: Iterator[Frames], wanted: int) -> torch.Tensor:
    """The last `wanted` frames, uint8 `[f, h, w, 3]`; no more than those are held."""
    last: deque[Frames] = deque(maxlen=-(-wanted // CHUNK) + 1)
    last.extend(chunks)
    return torch.from_numpy(np.concatenate(last)[-wanted:])
