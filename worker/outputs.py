"""What is stored of a finished job: the clip or still, and the small pictures that go with it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from app.contract import outputs
from app.contract.job import Job, JobSpec, Output, Stage, output_key
from worker.clips import frames_of
from worker.patience import patiently
from worker.progress import Lease
from worker.workplace import Workplace

CONTENT_TYPES = {"mp4": "video/mp4", "png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
THUMBNAIL_SIDE = 640
PREVIEW_SIDE = 320
#: An animated preview shows the whole clip, faster when that is longer.
PREVIEW_S = 6.0
#: Browsers show a picture for a longer time when this one is shorter.
SHORTEST_MS = 20


def store(job: Job, place: Workplace, lease: Lease, path: Path) -> Output:
    """Makes the small pictures of the file at `path` and stores all of them beside it."""
    spec, folder = job.spec, path.parent
    if spec.output == "mp4":
        picture_clip(path, spec)
    else:
        with Image.open(path) as still:
            _thumbnail(still.convert("RGB"), folder)
    files = [path, *(folder / name for name in outputs.CONTENT_TYPES if (folder / name).exists())]
    total = 0
    for number, file in enumerate(files):
        lease.report(Stage.UPLOAD, number, len(files))
        lease.check_stopping()
        kind = outputs.CONTENT_TYPES.get(file.name) or CONTENT_TYPES[spec.output]
        total += _put(job, place, lease, file, kind)
    return Output(
        key=output_key(job.id, job.attempt, path.name),
        size_bytes=total,
        thumbnail_key=output_key(job.id, job.attempt, outputs.THUMBNAIL),
    )


def _put(job: Job, place: Workplace, lease: Lease, file: Path, content_type: str) -> int:
    key = output_key(job.id, job.attempt, file.name)
    put = lambda: place.blobs.put(key, file, content_type)
    return patiently(put, lease, place.worker.patience_s).size_bytes


def picture_clip(path: Path, spec: JobSpec) -> None:
    """Thumbnail, sprite sheet and animated previews of the clip at `path`, written beside it."""
    sheet = outputs.sprites(spec.width, spec.height, spec.clip_frames)
    canvas = Image.new("RGB", (sheet.columns * sheet.width, sheet.rows * sheet.height))
    small = outputs.fitted(spec.width, spec.height, PREVIEW_SIDE)
    animated: list[Image.Image] = []
    size = outputs.fitted(spec.width, spec.height, THUMBNAIL_SIDE)
    chunks = frames_of(path, *size, spec.clip_frames, "result", shown=sheet.frames)
    for number, frame in enumerate(frame for chunk in chunks for frame in chunk):
        picture = Image.fromarray(frame)
        if number == 0:
            _thumbnail(picture, path.parent)
        canvas.paste(picture.resize((sheet.width, sheet.height)), sheet.place(number))
        animated.append(picture.resize(small))
    canvas.save(path.with_name(outputs.SPRITES), quality=80)
    path.with_name(outputs.SPRITE_MAP).write_text(sprite_map(sheet, spec.clip_frames, spec.fps))
    each_ms = max(SHORTEST_MS, round(1000 * min(spec.seconds, PREVIEW_S) / len(animated)))
    for name in (outputs.PREVIEW_WEBP, outputs.PREVIEW_GIF):
        animated[0].save(
            path.with_name(name),
            save_all=True,
            append_images=animated[1:],
            duration=each_ms,
            loop=0,
            quality=70,  # these two are WebP's own; GIF passes them over
            method=2,
        )


def sprite_map(sheet: outputs.Sprites, frames: int, fps: int) -> str:
    """WebVTT that gives each stretch of time its picture on the sheet."""
    starts = [*outputs.spread(frames, sheet.frames), frames]
    cues = ["WEBVTT"]
    for number, (start, end) in enumerate(pairwise(starts)):
        x, y = sheet.place(number)
        cues.append(
            f"{_time(start / fps)} --> {_time(end / fps)}\n"
            f"{outputs.SPRITES}#xywh={x},{y},{sheet.width},{sheet.height}"
        )
    return "\n\n".join(cues) + "\n"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"


def write_still(path: Path, frame: np.ndarray) -> None:
    """Stores one frame `[h, w, 3]`, as PNG or WebP without loss or as JPEG, by the suffix."""
    image = Image.fromarray(frame)
    if path.suffix == ".webp":
        image.save(path, lossless=True)
    elif path.suffix == ".jpeg":
        image.save(path, quality=95, subsampling=0)
    else:
        image.save(path)


def _thumbnail(picture: Image.Image, folder: Path) -> None:
    small = picture.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    small.save(folder / outputs.THUMBNAIL, quality=80)
