"""The course of a stage: its minutes, counted over interruptions, and its state, that is saved."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from torch import Tensor

from model.training import checkpoints
from model.training.log import Log

#: Seconds after which the state is saved again.
SAVED_EVERY_S = 180


class Course:
    """Steps until `minutes` are over; goes on from the last state in `folder`, which is `found`."""

    def __init__(self, folder: Path, title: str, minutes: float) -> None:
        """ValueError when there is a state and it is damaged."""
        self.folder, self.title, self.minutes = folder, title, minutes
        self.found: dict[str, Tensor] | None = None
        self.step, self._spent = 0, 0.0
        if (known := checkpoints.load(folder / "state")) is not None:
            self.found, meta = known
            self.step, self._spent = meta["step"], meta["minutes"]

    def steps(self, state: Callable[[], dict[str, Tensor]]) -> Iterator[tuple[float, Log]]:
        """Before each step: the share that is done, 0..1, and where to write of it.

        `state` is called for what is saved, every few minutes and at the end.
        """
        title = f"{self.title} {self.minutes:.0f} min"
        with closing(Log(self.folder / "log.jsonl", title)) as log:
            begun = saved = time.monotonic()
            while (minutes := self._spent + (time.monotonic() - begun) / 60) < self.minutes:
                yield minutes / self.minutes, log
                self.step += 1
                if time.monotonic() - saved > SAVED_EVERY_S:
                    self._save(state(), minutes)
                    saved = time.monotonic()
        # A later stage may have been further already: its time is not given back.
        self._save(state(), max(self._spent, self.minutes))

    def _save(self, state: dict[str, Tensor], minutes: float) -> None:
        meta = {"step": self.step, "minutes": minutes}
        checkpoints.save(self.folder / "state", state, meta)


def rate(step: int, done: float, *, warmup: int = 50) -> float:
    """Of a learning rate: it rises over so many steps, and falls over the last 60 %, to 2 %."""
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * min(1.0, (1 - done) / 0.6))
