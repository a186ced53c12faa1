"""Frames to files: MP4 through ffmpeg on a pipe, stills and thumbnails through Pillow."""

import queue
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from PIL import Image

Frames = np.ndarray  # uint8 [f, h, w, 3]

THUMBNAIL_SIDE = 640
STOP_S = 10
LOG_LINES = 8


class EncodeError(RuntimeError):
    """ffmpeg failed; the message ends with its last lines."""


@contextmanager
def mp4_writer(
    path: Path, width: int, height: int, fps: int, *, preset: str = "veryfast", crf: int = 17
) -> "Generator[Mp4Writer]":
    """Opens `path` for frames of exactly this size; the file is complete when the block ends, and
    removed when it ends with an exception. H.264 High, yuv420p, BT.709, moov box in front.
    """
    writer = Mp4Writer(path, width, height, fps, preset, crf)
    try:
        yield writer
        writer.finish()
    except BaseException:
        writer.abort()
        raise


class Mp4Writer:
    """An ffmpeg that is fed from a thread of its own, so that encoding a chunk overlaps making the
    next one. One chunk may wait: memory does not grow when ffmpeg is the slower part.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: int, preset: str, crf: int
    ) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"size: an MP4 needs even sides, not {width}x{height}")
        self._path, self._size = path, (height, width)
        self._log = path.with_suffix(".log")
        self._chunks: queue.Queue[Frames | None] = queue.Queue(maxsize=1)
        self._broken = False
        with self._log.open("wb") as log:
            self._ffmpeg = subprocess.Popen(
                command(path, width, height, fps, preset, crf),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        assert self._ffmpeg.stdin is not None
        self._thread = threading.Thread(
            target=self._feed, args=(self._ffmpeg.stdin,), name="encode", daemon=True
        )
        self._thread.start()

    def write(self, frames: Frames) -> None:
        """Hands over uint8 frames `[f, h, w, 3]`; waits while the previous ones are not taken."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (*self._size, 3):
            raise EncodeError(f"frames are {frames.dtype} {frames.shape}, not uint8 [f, h, w, 3]")
        if self._broken:
            raise EncodeError(self._reason())
        self._chunks.put(frames)

    def finish(self) -> None:
        """Waits for the file; raises EncodeError when ffmpeg failed."""
        self._chunks.put(None)
        self._thread.join()
        if self._ffmpeg.wait() != 0 or self._broken:
            raise EncodeError(self._reason())
        self._log.unlink()

    def abort(self) -> None:
        """Ends ffmpeg and removes the partial file."""
        self._broken = True
        self._ffmpeg.kill()
        self._ffmpeg.wait()
        self._chunks.put(None)
        self._thread.join()
        self._path.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)

    def _feed(self, pipe: IO[bytes]) -> None:
        while (frames := self._chunks.get()) is not None:
            if self._broken:  # go on taking, so that `write` never waits for a dead ffmpeg
                continue
            try:
                pipe.write(np.ascontiguousarray(frames).data)
            except OSError:  # its exit code and log say why
                self._broken = True
        try:
            pipe.close()
        except OSError:
            self._broken = True

    def _reason(self) -> str:
        code = self._ffmpeg.wait()
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"ffmpeg ended with code {code}", *lines])


def command(path: Path, width: int, height: int, fps: int, preset: str, crf: int) -> list[str]:
    """The ffmpeg command line.

    The colour tags go through the filters: as output options they are dropped for raw input.
    """
    colours = (
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,setparams="
        "color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
    )
    return [
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}",
        "-framerate", str(fps), "-i", "pipe:0", "-an", "-vf", colours,
        "-c:v", "libx264", "-profile:v", "high", "-preset", preset, "-crf", str(crf),
        "-movflags", "+faststart", "-f", "mp4", str(path),
    ]  # fmt: skip


def write_still(path: Path, frame: np.ndarray) -> None:
    """Stores one frame `[h, w, 3]` without loss, as PNG or WebP by the path's suffix."""
    image = Image.fromarray(frame)
    if path.suffix == ".webp":
        image.save(path, lossless=True)
    else:
        image.save(path)


def write_thumbnail(path: Path, frame: np.ndarray) -> None:
    """Stores a small WebP of a frame `[h, w, 3]`."""
    image = Image.fromarray(frame)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    image.save(path, quality=80)
