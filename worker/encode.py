"""Frames to files: parts of a clip, and from these the whole, through ffmpeg."""

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import torch

Frames = np.ndarray  # uint8 [f, h, w, 3]

#: Time units of a frame in the files, so that every frame rate has whole ones.
TICKS = 1000
#: A segment's raw frames take no more memory than this, and it is no longer than this.
SEGMENT_BYTES = 128 * 2**20
SEGMENT_S = 2
#: Encoding a segment takes longer than this only when ffmpeg hangs.
TIMEOUT_S = 600
LOG_LINES = 8


class EncodeError(RuntimeError):
    """ffmpeg failed; the message ends with its last lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What all segments of a clip have in common. Raises ValueError for an impossible size."""

    width: int
    height: int
    fps: int
    preset: str = "veryfast"
    crf: int = 17

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2:
            raise ValueError(f"size: an MP4 needs even sides, not {self.width}x{self.height}")

    @property
    def segment_frames(self) -> int:
        """Frames of every segment but the last: it follows from the clip alone, so that a clip made
        in two goes has the same segments as one made in one.
        """
        fitting = SEGMENT_BYTES // (self.width * self.height * 3)
        return max(1, min(fitting, SEGMENT_S * self.fps))


@dataclass(frozen=True, slots=True)
class Fragment:
    """A segment as bytes: `header` is the same for all segments of an encoding."""

    header: bytes
    media: bytes

    @property
    def frames(self) -> int:
        """How many frames it holds."""
        return struct.unpack_from(">I", self.media, self.media.index(b"trun") + 8)[0]

    @property
    def codec(self) -> bytes:
        """What a decoder is set up with (the box avcC)."""
        start = self.header.index(b"avcC") - 4
        return self.header[start : start + struct.unpack_from(">I", self.header, start)[0]]

    def at(self, first_frame: int, index: int) -> "Fragment":
        """The same segment as the `index`-th of a clip, beginning at `first_frame`."""
        media = bytearray(self.media)
        struct.pack_into(">I", media, media.index(b"mfhd") + 8, index + 1)
        struct.pack_into(">Q", media, media.index(b"tfdt") + 8, first_frame * TICKS)
        return Fragment(self.header, bytes(media))


def encode(frames: Sequence[Frames], encoding: Encoding, scratch: Path) -> Fragment:
    """One closed group of pictures as fragmented MP4 (CMAF): H.264 High, yuv420p, BT.709.

    The same frames give the same bytes. Raises EncodeError.
    """
    path, log = scratch / "segment.mp4", scratch / "segment.log"
    with log.open("wb") as output:
        ffmpeg = subprocess.Popen(
            _command(encoding, path),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
    assert ffmpeg.stdin is not None
    too_long = Timer(TIMEOUT_S, ffmpeg.kill)  # it may hang while it is written to
    too_long.daemon = True
    try:
        too_long.start()
        try:
            with ffmpeg.stdin as pipe:
                for chunk in frames:
                    pipe.write(np.ascontiguousarray(chunk).data)
        except OSError:  # it is gone; its exit code and log say why
            pass
        if ffmpeg.wait():
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise EncodeError("\n".join([f"ffmpeg ended with code {ffmpeg.returncode}", *lines]))
        return fragments(path)[0]
    finally:
        too_long.cancel()
        ffmpeg.kill()
        ffmpeg.wait()
        path.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def _command(encoding: Encoding, path: Path) -> list[str]:
    """The ffmpeg command line.

    The colour tags go through the filters: as output options they are dropped for raw input.
    """
    colours = (
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,setparams="
        "color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
    )
    return [
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-video_size", f"{encoding.width}x{encoding.height}",
        "-framerate", str(encoding.fps), "-i", "pipe:0", "-an", "-vf", colours,
        "-c:v", "libx264", "-profile:v", "high", "-preset", encoding.preset,
        "-crf", str(encoding.crf),
        # Every segment with the same header, and no other key frame than its first.
        "-x264-params", f"stitchable=1:keyint=infinite:scenecut=0:open-gop=0{_repeatable()}",
        *_fragmented(encoding.fps), "-f", "mp4", str(path),
    ]  # fmt: skip


def _repeatable() -> str:
    """On a CPU with AVX-512, x264's macroblock tree gave other bytes in three of a hundred tries of
    a busy machine; its AVX2 code never did.
    """
    return ":asm=avx2" if torch.backends.cpu.get_cpu_capability() == "AVX512" else ""


def _fragmented(fps: int) -> list[str]:
    return ["-video_track_timescale", str(fps * TICKS), "-movflags", "+cmaf+skip_trailer"]


def split(clip: Path, fps: int, scratch: Path) -> list[Fragment]:
    """The groups of pictures of an MP4 as they are, none of them decoded. Raises EncodeError."""
    path = scratch / "split.mp4"
    try:
        ffmpeg("-f", "mov", "-i", str(clip), "-map", "0:v:0", "-c", "copy",
               "-fflags", "+bitexact", *_fragmented(fps), "-f", "mp4", str(path))  # fmt: skip
        return fragments(path)
    finally:
        path.unlink(missing_ok=True)


def join(header: bytes, segments: Sequence[Path], fps: int, path: Path) -> None:
    """The segments as one ordinary MP4 with its index in front; nothing is encoded again."""
    whole = path.with_suffix(".joined")
    with whole.open("wb") as file:
        file.write(header)
        for segment in segments:
            file.write(segment.read_bytes())
    ffmpeg("-f", "mov", "-i", str(whole), "-c", "copy", "-fflags", "+bitexact",
           "-video_track_timescale", str(fps * TICKS),
           "-movflags", "+faststart", "-f", "mp4", str(path))  # fmt: skip
    whole.unlink()


def fragments(path: Path) -> list[Fragment]:
    """The header and the fragments of a fragmented MP4 (ISO 14496-12, section 8.8)."""
    data = path.read_bytes()
    starts: list[int] = []
    place = 0
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"moof":
            starts.append(place)
        place += size
    if not starts or place != len(data):
        raise EncodeError("ffmpeg wrote no fragments")
    header = data[: starts[0]]
    ends = [*starts[1:], len(data)]
    return [Fragment(header, data[a:b]) for a, b in zip(starts, ends, strict=True)]


def ffmpeg(*arguments: str) -> None:
    """Runs ffmpeg to its end. Raises EncodeError."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error", *arguments]
    try:
        run = subprocess.run(
            command, capture_output=True, check=False, timeout=TIMEOUT_S, start_new_session=True
        )
    except subprocess.TimeoutExpired as hangs:
        raise EncodeError(f"ffmpeg did not end in {TIMEOUT_S} seconds") from hangs
    if run.returncode:
        lines = run.stderr.decode(errors="replace").splitlines()[-LOG_LINES:]
        raise EncodeError("\n".join([f"ffmpeg ended with code {run.returncode}", *lines]))
