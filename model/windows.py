"""Which latent frames of a clip are denoised together: one window after another.

A window is as long as the clips that a checkpoint was trained on. Its first latent frames are given
by the windows before it, so that the clip goes on as it was; only the others are new. No window
looks further back than its own length, and so a clip of any length takes the memory of one window.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

__all__ = ["Window", "plan", "shot_latents"]


@dataclass(frozen=True, slots=True)
class Window:
    """Latent frames `start` to `stop` of a clip, denoised together with one `prompt` (its index).

    What comes before `fresh` is there already, what comes from `end` on is given: between them are
    the frames that this window makes. `anew` windows see nothing but the last picture before them,
    as their own first latent frame, and so are decoded as clips of their own.
    """

    start: int
    fresh: int
    end: int
    stop: int
    prompt: int = 0
    anew: bool = False

    @property
    def first(self) -> int:
        """The first latent frame that is decoded of this window."""
        return self.start if self.anew else self.fresh


def plan(
    shots: Sequence[int],
    *,
    length: int,
    overlap: int,
    before: int = 0,
    after: int = 0,
    loop: bool = False,
    anew: bool = False,
) -> list[Window]:
    """Windows of at most `length` latent frames, of which `overlap` or more are there already.

    `shots` are the new latent frames of each prompt, which follow the `before` that are there; the
    `after` behind them are given. The last window, which leads to those, has as much room for that
    as there is. In a `loop` they are known only once the clip's first window is made, so there are
    two or more. `anew` windows share exactly one latent frame, the picture between them.
    """
    if not 0 < overlap < length - after:
        raise ValueError(f"overlap: must be from 1 to {length - after - 1}, not {overlap}")
    windows: list[Window] = []
    start = before
    for i, count in enumerate(shots):
        given = after if i == len(shots) - 1 else 0
        for stop in _stops(start, start + count, given, length, overlap, loop=loop and given > 0):
            back = max(start - 1, 0) if anew else max(stop - length, 0)
            end = min(stop, before + sum(shots))
            windows.append(Window(back, start, end, stop, i, anew and start > 0))
            start = end
    return windows


def _stops(start: int, end: int, given: int, length: int, overlap: int, *, loop: bool) -> list[int]:
    """Where the windows stop that make latent frames `start` to `end` and lead to the given ones.

    The last one stops behind those. The new frames are spread evenly, but where nothing is there
    yet the first window makes as many as it can.
    """
    if not loop and end + given - start <= length - min(start, overlap):
        return [end + given]
    stops: list[int] = []
    if given:
        stops = [end + given]
        most = end - 3 if loop and start == 0 else end - start
        end -= min(length - overlap - given, max(most, 1))
    first = [min(length, end)] if start == 0 else []
    start = max(start, *first, 0)
    count = math.ceil((end - start) / (length - overlap))
    spread = [start + round((end - start) * (i + 1) / count) for i in range(count)]
    return [*first, *spread, *stops]


def shot_latents(frames: Sequence[int], factor: int, *, goes_on: bool) -> list[int]:
    """Latent frames of each shot, given its pixel frames; the first stands for one frame.

    A clip that `goes_on` has no such first latent frame. A shot ends with the latent frame that is
    nearest to where it should.
    """
    first = 0 if goes_on else factor - 1
    bounds = [(2 * (shown + first) + factor) // (2 * factor) for shown in accumulate(frames)]
    return [stop - start for start, stop in pairwise([0, *bounds])]
