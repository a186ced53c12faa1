"""`kinora generate`: ask for videos, show how far they are, and store them."""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from app.client import Client, ServerError, Video
from app.wishes import Wish

T = TypeVar("T")

#: Seconds between two looks at a video: few at first, more of one that takes long.
POLL_S, MAX_POLL_S = 0.5, 3.0
#: Seconds for which a server that is busy or away is asked again how far a video is.
PATIENCE_S = 120.0
STAGES = {
    "queued": "waiting for a worker",
    "text": "reading the prompt",
    "denoise": "denoising",
    "decode": "decoding",
    "upload": "storing",
}
#: What can be stored of a video -> the server's name for it.
FORMATS = {"mp4": "video", "webp": "preview_webp", "gif": "preview_gif"}
#: Exit codes: a video failed; the request was refused; no server; interrupted.
FAILED, REFUSED, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


@dataclass(frozen=True, slots=True)
class Target:
    """Where videos go: a file, or `-` for standard output; and in which format."""

    path: str
    kind: str = ""

    @property
    def variant(self) -> str:
        """The server's name for the format: the one that was asked for, or the file's suffix."""
        return FORMATS.get(self.kind or Path(self.path).suffix.lower()[1:], "video")

    def file(self, at: int, of: int) -> Path:
        """The file for one of several videos: they are numbered when there are more."""
        path = Path(self.path)
        return path if of == 1 else path.with_stem(f"{path.stem}-{at + 1}")

    def check(self) -> None:
        """Raises OSError where no file could be stored, before hours go into making it."""
        path = Path(self.path)
        if self.path != "-" and path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: name a file in it")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path.parent} is no folder: make it first")

    def store(self, client: Client, video_id: str, at: int = 0, of: int = 1) -> Path | None:
        """Fetch a finished video; the file that has it, if it is one."""
        if self.path != "-":
            file = self.file(at, of)
            client.download(video_id, file, self.variant)
            return file
        for chunk in client.content(video_id, self.variant):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return None


def generate(client: Client, wish: Wish, target: Target, *, as_json: bool = False) -> int:
    """Make what is wished for and store it; returns the exit code. Raises ServerError.

    Progress goes to stderr. An interrupt cancels what is not finished.
    """
    console = Console(stderr=True, highlight=False)
    made = client.create(*_fitted(client, wish, console), path=wish.path)
    ids = [made["id"], *made.get("siblings", [])]
    try:
        siblings = [_look(client, video_id) for video_id in ids[1:]]
        videos = watch(client, [made, *siblings], console)
        if as_json:
            sys.stdout.writelines(json.dumps(v, ensure_ascii=False) + "\n" for v in videos)
        codes = [_finish(client, v, target, at, len(ids), console) for at, v in enumerate(videos)]
    except KeyboardInterrupt:
        going_on = [video_id for video_id in ids if not _cancel(client, video_id)]
        said = f"not cancelled, as the server does not answer: {' '.join(going_on)}"
        console.print(said if going_on else "cancelled", soft_wrap=True)
        return INTERRUPTED
    return max(codes)


def exit_code(error: ServerError | OSError) -> int:
    """What a command ends with that met this."""
    is_away = isinstance(error, ServerError) and not error.is_refusal
    return UNREACHABLE if is_away else REFUSED


def _finish(
    client: Client, video: Video, target: Target, at: int, of: int, console: Console
) -> int:
    """Store a video that came about, or say why it did not."""
    if video["status"] == "failed":
        error = video["error"]
        said = f"the video failed ({error['code']}): {error['message']}"
        console.print(said, style="red", markup=False)
        return FAILED
    try:
        file = _patiently(lambda: target.store(client, video["id"], at, of))
    except BrokenPipeError:
        raise  # who reads standard output wants no more of it
    except (ServerError, OSError) as error:
        said = f"{error}; `kinora download {video['id']}` fetches the video"
        console.print(said, style="red", markup=False, soft_wrap=True)
        return exit_code(error)
    if file is not None:
        facts = f"{video['size']}, {video['frames']} frames at {video['fps']}/s"
        console.print(
            f"{file}: {facts}, seed {video['seed']}, {video['id']}", markup=False, soft_wrap=True
        )
    return 0


def watch(client: Client, videos: list[Video], console: Console) -> list[Video]:
    """Follow videos to their ends, showing how far they are; returns their last states."""
    now, began = list(videos), time.monotonic()
    with (_bars if console.is_terminal else _lines)(console, len(now)) as show:
        while True:
            for at, video in enumerate(now):
                show(at, video)
            open_ = [at for at, video in enumerate(now) if not _is_finished(video)]
            if not open_:
                return now
            time.sleep(min(MAX_POLL_S, max(POLL_S, (time.monotonic() - began) / 20)))
            for at in open_:
                now[at] = _look(client, now[at]["id"])


def _look(client: Client, video_id: str) -> Video:
    """The video as it is now. Raises ServerError."""
    return _patiently(lambda: client.get(video_id))


def _patiently(ask: Callable[[], T]) -> T:
    """What is being made goes on while a server is busy or started anew, so that one is asked again
    for PATIENCE_S. Raises ServerError.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except ServerError as error:
            wait_s = error.retry_after_s
            if wait_s is None or time.monotonic() + wait_s > until:
                raise
            time.sleep(wait_s)


def _is_finished(video: Video) -> bool:
    return video["status"] not in ("queued", "in_progress")


def _stage(video: Video) -> str:
    said = STAGES.get(str(video["stage"]), "")
    if video["status"] == "queued" and video.get("queue_position"):
        return f"{said}, {video['queue_position']} before it"
    return f"{said}, {video['num_inference_steps']} steps" if video["stage"] == "denoise" else said


def _left(video: Video) -> str:
    """The server's estimate of the time that is left."""
    seconds = video.get("eta_seconds")
    if seconds is None or _is_finished(video):
        return ""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02} left"


Show = Callable[[int, Video], None]


@contextmanager
def _bars(console: Console, count: int) -> Generator[Show]:
    """A moving bar for each video, with stage, per cent and the time that is left."""
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks = [progress.add_task("", total=100, left="") for _ in range(count)]

        def show(at: int, video: Video) -> None:
            progress.update(
                tasks[at],
                description=_stage(video),
                completed=video["progress"],
                left=_left(video),
            )

        yield show


@contextmanager
def _lines(console: Console, count: int) -> Generator[Show]:
    """A line for each stage and each tenth of the work, for logs and pipes."""
    last: dict[int, tuple[str, int]] = {}

    def show(at: int, video: Video) -> None:
        state = (_stage(video), video["progress"] // 10)
        if last.get(at) == state:
            return
        last[at] = state
        which = f"{at + 1} of {count}  " if count > 1 else ""
        said = f"{which}{video['progress']:3} %  {state[0]}  {_left(video)}".rstrip()
        console.print(said, markup=False, soft_wrap=True)

    yield show


def _cancel(client: Client, video_id: str) -> bool:
    """Whether a video is no longer being made: one that was finished already is not, either."""
    try:
        client.cancel(video_id)
    except ServerError as error:
        return error.is_refusal
    return True


def _fitted(
    client: Client, wish: Wish, console: Console
) -> tuple[dict[str, Any], dict[str, Path | bytes]]:
    """Fields and files of the request, the pictures cut to its size, which the first one gives when
    none is asked for. A size that is none is the server's to refuse.
    """
    files: dict[str, Path | bytes] = dict(wish.files)
    if not wish.pictures:
        return wish.fields, files
    from app import framing

    pictures = {name: framing.open_upright(path) for name, path in wish.pictures.items()}
    model = client.model(wish.fields.get("model"))
    first = next(iter(pictures.values()))
    size = first.size
    if "size" not in wish.fields:
        offered = [_pixels(text) for text in (model["default_size"], *model["sizes"])]
        size = framing.nearest(size, offered)
    elif re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", wish.fields["size"]):
        asked = _pixels(wish.fields["size"])
        if math.prod(asked) <= model["max_pixels"]:
            size = asked
    for name, picture in pictures.items():
        if picture.size != size:
            found, fitted = (f"{width}x{height}" for width, height in (picture.size, size))
            said = f"{wish.pictures[name]}: {found}, fitted to {fitted}"
            console.print(said, markup=False, soft_wrap=True)
        files[name] = framing.cover(picture, size)
    return {"size": f"{size[0]}x{size[1]}"} | wish.fields, files


def _pixels(size: str) -> tuple[int, int]:
    width, height = map(int, size.split("x"))
    return width, height
