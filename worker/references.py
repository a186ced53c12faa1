"""The model's request for a job, with the images and clips it names read from storage."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image

from app.contract.blobs import Blobs
from app.contract.job import JobSpec
from model import Request
from model import Shot as ModelShot
from worker.clips import frames_of, read_all, read_end
from worker.encode import Frames
from worker.failures import ImageError

#: Frames that the model looks at of a clip that it goes on from, and of one that it leads to.
BEFORE_FRAMES = 33
AFTER_FRAMES = 8


def request_of(spec: JobSpec, blobs: Blobs, folder: Path, check: Callable[[], None]) -> Request:
    """Everything the model is asked for. The clips stay in `folder` (see `clip_path`), and while
    they are read `check` may say, by what it raises, that nobody wants them any more.

    Raises BlobNotFound, or ValueError when a reference cannot be read.
    """
    return Request(
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        width=spec.width,
        height=spec.height,
        frames=spec.frames,
        fps=spec.fps,
        steps=spec.steps,
        guidance=spec.guidance,
        guidance_2=spec.guidance_2,
        seed=spec.seed,
        flow_shift=spec.flow_shift,
        image=_image(spec.image, blobs),
        last_image=_image(spec.last_image, blobs),
        video=_clip(spec, "video", spec.frames, blobs, folder, check),
        strength=spec.strength,
        before=_clip(spec, "before", BEFORE_FRAMES, blobs, folder, check),
        after=_clip(spec, "after", AFTER_FRAMES, blobs, folder, check),
        loop=spec.loop,
        shots=tuple(ModelShot(shot.prompt, shot.frames) for shot in spec.shots),
    )


def clip_path(folder: Path, field: str) -> Path:
    """Where `request_of` leaves the clip of a field."""
    return folder / f"reference-{field}.mp4"


def _image(key: str | None, blobs: Blobs) -> Image.Image | None:
    if key is None:
        return None
    stored = io.BytesIO(blobs.get(key))
    try:
        return Image.open(stored).convert("RGB")
    except OSError as error:  # Pillow's; the storage's would be worth another try
        raise ImageError(f"{key}: {error}") from error


def _clip(
    spec: JobSpec, field: str, wanted: int, blobs: Blobs, folder: Path, check: Callable[[], None]
) -> torch.Tensor | None:
    key: str | None = getattr(spec, field)
    if key is None:
        return None
    path = clip_path(folder, field)
    with path.open("wb") as file:
        file.writelines(blobs.stream(key))
    if field == "before":
        frames = spec.before_frames
        chunks = frames_of(path, spec.width, spec.height, frames, field)
        return read_end(_checked(chunks, check), min(wanted, frames))
    frames = min(wanted, spec.after_frames if field == "after" else spec.frames)
    chunks = frames_of(path, spec.width, spec.height, frames, field)
    return read_all(_checked(chunks, check), (frames, spec.height, spec.width, 3))


def _checked(chunks: Iterator[Frames], check: Callable[[], None]) -> Iterator[Frames]:
    for chunk in chunks:
        check()
        yield chunk
