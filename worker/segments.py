"""A clip in the making: its frames become segments, files that are complete one by one.

Segments are encoded on a thread of their own, while the frames of the next one are made. A segment
depends on its own frames alone, so a clip that is gone on with by another worker is the same to the
bit as one made in one go.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import structlog

from worker.encode import EncodeError, Encoding, Fragment, Frames, encode, join

log = structlog.get_logger()


class Segments:
    """The segments so far, as files in `folder`, and the frames that do not yet fill one."""

    def __init__(self, folder: Path, encoding: Encoding) -> None:
        self._folder = folder
        self._encoding = encoding
        #: called when there is a new file, on the thread that made it
        self.finished: Callable[[], None] = lambda: None
        self._header = b""
        #: number of frames of each segment that has a file
        self.lengths: list[int] = []
        self._pending: list[Frames] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._encoded: Future[None] | None = None

    @property
    def written(self) -> int:
        """Frames handed over so far."""
        self.settle()
        return sum(self.lengths) + sum(map(len, self._pending))

    @property
    def header_path(self) -> Path:
        """The file that comes before the segments."""
        return self._folder / "init.mp4"

    def path(self, index: int) -> Path:
        """The file of a segment."""
        return self._folder / f"{index:05}.m4s"

    def write(self, frames: Frames) -> None:
        """Takes uint8 frames `[f, h, w, 3]`; waits while the last segment is still encoded."""
        size = (self._encoding.height, self._encoding.width, 3)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != size:
            raise EncodeError(f"frames are {frames.dtype} {frames.shape}, not uint8 [f, h, w, 3]")
        while len(frames):
            room = self._encoding.segment_frames - sum(map(len, self._pending))
            self._pending.append(frames[:room])
            frames = frames[room:]
            if sum(map(len, self._pending)) == self._encoding.segment_frames:
                self._close()

    def take(self, fragments: list[Fragment]) -> bool:
        """Adds parts of another clip as they are. Returns False, and adds nothing, unless they were
        encoded as this clip is, so that one decoder plays them all.
        """
        if self._pending:
            return False
        self.settle()
        own = self._own()
        if any(fragment.codec != own.codec for fragment in fragments):
            return False
        for fragment in fragments:
            self._store(replace(fragment, header=own.header))
        return True

    def adopt(self, lengths: list[int], pending: Frames) -> None:
        """Goes on from segments whose files have been put into the folder, and pending frames.

        Raises EncodeError when they were encoded in another way than the next ones would be.
        """
        self._header = self.header_path.read_bytes() if lengths else b""
        if lengths and self._header != self._own().header:
            raise EncodeError("the segments were encoded with other settings, or another ffmpeg")
        self.lengths = lengths
        self._pending = [pending] if len(pending) else []

    def pending(self) -> Frames:
        """The frames that are in no segment yet, once the others are encoded."""
        self.settle()
        shape = (0, self._encoding.height, self._encoding.width, 3)
        return np.concatenate([np.zeros(shape, np.uint8), *self._pending])

    def settle(self) -> None:
        """Waits for the segment that is being encoded; raises EncodeError when that failed."""
        if self._encoded is not None:
            encoded, self._encoded = self._encoded, None
            encoded.result()

    def flush(self) -> None:
        """Makes a last, shorter segment of what is pending. Raises EncodeError."""
        if self._pending:
            self._close()
        self.settle()

    def finish(self, path: Path) -> None:
        """Encodes what is pending and joins all segments to a file. Raises EncodeError."""
        self.flush()
        paths = [self.path(index) for index in range(len(self.lengths))]
        join(self._header, paths, self._encoding.fps, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends the thread; the files belong to whoever owns the folder."""
        self._thread.shutdown(cancel_futures=True)

    def _own(self) -> Fragment:
        """A segment as this clip has them."""
        black = np.zeros((1, self._encoding.height, self._encoding.width, 3), np.uint8)
        return encode([black], self._encoding, self._folder)

    def _close(self) -> None:
        """Gives the pending frames to the thread."""
        self.settle()
        frames, self._pending = self._pending, []
        self._encoded = self._thread.submit(self._encode, frames)

    def _encode(self, frames: list[Frames]) -> None:
        try:
            fragment = encode(frames, self._encoding, self._folder)
        except EncodeError as error:  # killed, perhaps; the frames are still there
            log.warning("encode.again", error=str(error))
            fragment = encode(frames, self._encoding, self._folder)
        self._store(fragment)

    def _store(self, fragment: Fragment) -> None:
        index = len(self.lengths)
        if index == 0:
            self._header = fragment.header
            self.header_path.write_bytes(fragment.header)
        elif fragment.header != self._header:
            raise EncodeError("segments of one clip have different headers")
        self.path(index).write_bytes(fragment.at(sum(self.lengths), index).media)
        self.lengths.append(fragment.frames)
        self.finished()
