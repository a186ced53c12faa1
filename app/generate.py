"""`kinora generate`: ask for a video, show how far it is, and store it."""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.client import Client, ServerError

POLL_S = 0.5
STAGES = {
    "queued": "waiting for a worker",
    "text": "reading the prompt",
    "denoise": "denoising",
    "decode": "decoding",
    "upload": "storing",
}
#: Exit codes: the job failed; the request was refused; no server; interrupted.
FAILED, REFUSED, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


@dataclass(frozen=True, slots=True)
class Target:
    """Where the video goes: a file, or `-` for standard output."""

    path: str

    def store(self, client: Client, video_id: str) -> None:
        """Fetch the finished video."""
        if self.path != "-":
            client.download(video_id, Path(self.path))
            return
        for chunk in client.content(video_id):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def generate(
    client: Client,
    fields: dict[str, Any],
    target: Target,
    *,
    image: Path | None = None,
    video: Path | None = None,
    as_json: bool = False,
) -> int:
    """Make one video and store it; returns the exit code. Raises ServerError.

    Progress goes to stderr. An interrupt cancels the job.
    """
    console = Console(stderr=True, highlight=False)
    picture = None
    if image is not None:
        fields, picture = _framed(client, fields, image, console)
    made = client.create(fields, picture, video)
    try:
        made = watch(client, made, console)
        if as_json:
            sys.stdout.write(json.dumps(made, ensure_ascii=False) + "\n")
        if made["status"] == "failed":
            error = made["error"]
            said = f"the video failed ({error['code']}): {error['message']}"
            console.print(said, style="red", markup=False)
            return FAILED
        target.store(client, made["id"])
    except KeyboardInterrupt:
        _cancel(client, made["id"])
        console.print("cancelled")
        return INTERRUPTED
    if target.path != "-":
        size = f"{made['size']}, {made['frames']} frames at {made['fps']}/s, seed {made['seed']}"
        console.print(f"{target.path}: {size}", markup=False)
    return 0


def watch(client: Client, video: dict[str, Any], console: Console) -> dict[str, Any]:
    """Follow a video to its end, showing how far it is; returns its last state."""
    shown = _bar if console.is_terminal else _lines
    with shown(console) as show:
        while True:
            show(STAGES.get(str(video["stage"]), ""), video["progress"])
            if video["status"] not in ("queued", "in_progress"):
                return video
            time.sleep(POLL_S)
            video = client.get(video["id"])


Show = Callable[[str, int], None]


@contextmanager
def _bar(console: Console) -> Generator[Show]:
    """A moving bar with stage, per cent and the time that is left."""
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=100)
        yield lambda stage, percent: progress.update(task, description=stage, completed=percent)


@contextmanager
def _lines(console: Console) -> Generator[Show]:
    """A line for each stage and each tenth of the work, for logs and pipes."""
    last: tuple[str, int] | None = None

    def show(stage: str, percent: int) -> None:
        nonlocal last
        if last != (stage, percent // 10):
            last = (stage, percent // 10)
            console.print(f"{percent:3} %  {stage}", markup=False)

    yield show


def _cancel(client: Client, video_id: str) -> None:
    try:
        client.cancel(video_id)
    except ServerError:
        return  # it was finished already, or the server is gone: nothing is left to stop


def _framed(
    client: Client, fields: dict[str, Any], path: Path, console: Console
) -> tuple[dict[str, Any], bytes]:
    """The fields with a size, and the picture cut to it; a size that is none is the server's to
    refuse.
    """
    from app import framing

    picture = framing.open_upright(path)
    model = client.model(fields.get("model"))
    width, height = picture.size
    if "size" not in fields:
        offered = [_pixels(text) for text in (model["default_size"], *model["sizes"])]
        width, height = framing.nearest(picture.size, offered)
    elif re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", fields["size"]):
        asked = _pixels(fields["size"])
        if math.prod(asked) <= model["max_pixels"]:
            width, height = asked
    if (width, height) != picture.size:
        found = f"{picture.width}x{picture.height}"
        console.print(f"{path}: {found}, fitted to {width}x{height}", markup=False, soft_wrap=True)
    return {"size": f"{width}x{height}"} | fields, framing.cover(picture, (width, height))


def _pixels(size: str) -> tuple[int, int]:
    width, height = map(int, size.split("x"))
    return width, height
