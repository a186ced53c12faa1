"""Untrusted videos: from an upload to a clean MP4.

The container is told by its first bytes, never by the file's name, and ffmpeg is bound to that one:
left to guess it would take a text file for a playlist and open the files that are named in it. It
runs confined (`app/confined.py`) and writes the frames anew; the client's bytes are dropped.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]

from app.contract.capabilities import MAX_FPS
from app.errors import InvalidRequest

CONFINED = Path(__file__).with_name("confined.py")
MEMORY_BYTES = 1 << 30
FILE_BYTES = 1 << 30
#: CPU time for finding out whether a clip is sound, and for writing a sound one anew. Decoding is
#: the cheaper half, so damage is found by it alone, in a few seconds even at a clip's end.
CHECK_CPU_S = 18
WRITE_CPU_S = 60
WALL_S = 90
#: Clips that are read at once.
READERS = 2
#: How folders of clips that are being read begin, and how old one is that a killed process left.
FOLDER, LEFT_S = "kinora-clip-", 24 * 3600

#: What an ISO base media file (MP4, MOV) may begin with, and EBML's mark (WebM, Matroska).
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
EBML = b"\x1a\x45\xdf\xa3"
CODECS = "h264,hevc,mpeg4,mjpeg,prores,vp8,vp9,libdav1d,av1"
#: As good as the original to the eye; the model sees it through its VAE anyway.
CRF = "12"


@dataclass(frozen=True, slots=True)
class Clip:
    """A video to start from: an MP4 in a file here, or a blob of the service's own."""

    source: Path | str
    width: int
    height: int
    frames: int
    fps: int


@dataclass(frozen=True, slots=True)
class Clips:
    """Reads uploaded videos within the service's limits."""

    max_frames: int
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(READERS))

    @contextmanager
    def read(self, file: BinaryIO, max_pixels: int, max_frames: int, param: str) -> Generator[Clip]:
        """The clip in `file`, its own MP4, which lasts as long as the block. Frames come at a
        constant rate, the nearest whole one. Raises InvalidRequest for what cannot be used.
        """
        demuxer = _demuxer(file.read(12), param)
        file.seek(0)
        with tempfile.TemporaryDirectory(prefix=FOLDER) as name:
            folder = Path(name)
            upload, clean = folder / "upload", folder / "clip.mp4"
            limit = min(max_frames, self.max_frames)
            with self.slots:  # not while it is used: two blends would wait for each other's second
                with upload.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                found = _probe(upload, demuxer, limit, param)
                _check(found, max_pixels, limit, param)
                _decode(upload, demuxer, max_pixels, param)
                _rewrite(upload, demuxer, found.fps, max_pixels, clean, param)
                upload.unlink()
                clip = _probe(clean, "mov", limit, param)
                _check(clip, max_pixels, limit, param)
            yield clip


@contextmanager
def of_picture(png: bytes, width: int, height: int) -> Generator[Clip]:
    """A clip of one frame, from a picture that was read already."""
    with tempfile.TemporaryDirectory(prefix=FOLDER) as name:
        path = Path(name) / "clip.mp4"
        command = (
            imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-f", "png_pipe",
            "-i", "pipe:0", "-c:v", "libx264", "-crf", CRF, "-pix_fmt", "yuv420p", str(path),
        )  # fmt: skip
        subprocess.run(command, input=png, check=True, timeout=WALL_S, capture_output=True)
        yield Clip(path, width, height, frames=1, fps=1)


def remove_left() -> None:
    """Removes the folders of processes that were killed while they read a clip."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if folder.stat().st_mtime < time.time() - LEFT_S:
                shutil.rmtree(folder)


def _demuxer(head: bytes, param: str) -> str:
    if head[4:8] in BOXES:
        return "mov"
    if head[:4] == EBML:
        return "matroska"
    raise _bad(f"{param} is not an MP4, MOV or WebM video", param)


def _check(clip: Clip, max_pixels: int, max_frames: int, param: str) -> None:
    if clip.width * clip.height > max_pixels:
        raise _bad(
            f"{param} is {clip.width}x{clip.height}; at most {max_pixels} pixels are taken", param
        )
    if clip.frames > max_frames:
        raise _bad(f"{param} has more than the {max_frames} frames that are taken", param)
    if clip.fps > MAX_FPS:
        raise _bad(f"{param} has {clip.fps} frames per second; at most {MAX_FPS} are taken", param)


def _probe(path: Path, demuxer: str, max_frames: int, param: str) -> Clip:
    """Size, frames and rate by the packets' times; nothing is decoded, so it is quick.

    Stops one frame after `max_frames`.
    """
    count = ("-frames:v", str(max_frames + 1))
    output = (*count, "-c", "copy", "-f", "framecrc", "-")
    told = _ffmpeg(path, demuxer, output, param, cpu_s=CHECK_CPU_S)
    base = re.search(r"^#tb 0: (\d+)/(\d+)$", told, re.MULTILINE)
    size = re.search(r"^#dimensions 0: (\d+)x(\d+)$", told, re.MULTILINE)
    rows = [line.split(",") for line in told.splitlines() if line.startswith("0,")]
    times = [(int(row[2]), int(row[3])) for row in rows]
    if base is None or size is None or not times:
        raise _bad(f"{param} has no frames", param)
    ticks = max(start + length for start, length in times) - min(start for start, _ in times)
    seconds = max(ticks, 1) * int(base[1]) / int(base[2])
    return Clip(
        source=path,
        width=int(size[1]),
        height=int(size[2]),
        frames=len(times),
        fps=max(1, round(len(times) / seconds)),
    )


def _decode(path: Path, demuxer: str, max_pixels: int, param: str) -> None:
    """Decodes every frame for nothing but the damage that shows."""
    output = ("-f", "null", "-")
    _ffmpeg(path, demuxer, output, param, _frames_of(max_pixels), threads=2, cpu_s=CHECK_CPU_S)


def _rewrite(path: Path, demuxer: str, fps: int, max_pixels: int, target: Path, param: str) -> None:
    """Decodes every frame and writes it to a new MP4: upright, even sides, square pixels, `fps`, no
    sound.
    """
    filters = f"fps={fps},scale=iw*sar:ih,crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0,setsar=1"
    output = (
        "-an", "-sn", "-dn", "-map_metadata", "-1", "-vf", filters, "-c:v", "libx264",
        "-preset", "veryfast", "-crf", CRF, "-pix_fmt", "yuv420p", "-f", "mp4", str(target),
    )  # fmt: skip
    _ffmpeg(path, demuxer, output, param, _frames_of(max_pixels), cpu_s=WRITE_CPU_S)


def _frames_of(max_pixels: int) -> tuple[str, str]:
    """The container's size was checked; this is for what the frames themselves claim, which is
    padded to whole blocks.
    """
    return "-max_pixels", str(max_pixels * 5 // 4)


def _ffmpeg(
    path: Path,
    demuxer: str,
    output: tuple[str, ...],
    param: str,
    decoding: tuple[str, ...] = (),
    *,
    threads: int = 1,
    cpu_s: int,
) -> str:
    """What ffmpeg prints for the first video stream of `path`; any damage ends it. `threads`
    decode: each takes of the memory that all may have.
    """
    limits = map(str, (MEMORY_BYTES, cpu_s, FILE_BYTES))
    command = (
        sys.executable, "-I", str(CONFINED), *limits, imageio_ffmpeg.get_ffmpeg_exe(),
        "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file,pipe",
        "-format_whitelist", demuxer, "-codec_whitelist", CODECS, *decoding,
        "-threads", str(threads), "-f", demuxer, "-i", str(path),
        "-map", "0:v:0", "-threads", "1", *output,
    )  # fmt: skip
    try:
        child = subprocess.run(
            command,
            capture_output=True,
            timeout=WALL_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={},
            cwd=path.parent,
        )
    except subprocess.TimeoutExpired:
        raise _slow(param) from None
    if child.returncode == -signal.SIGKILL:  # how the limit of CPU time ends
        raise _slow(param)
    if child.returncode:
        raise _bad(f"{param} cannot be decoded: it is damaged, or of a kind not taken", param)
    return child.stdout.decode(errors="replace")


def _slow(param: str) -> InvalidRequest:
    return _bad(f"{param} takes too long to read; send a shorter or a smaller one", param)


def _bad(said: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"{said}.", param=param, code="invalid_video")
