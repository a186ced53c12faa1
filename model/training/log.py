"""A training run's log: one JSON line every few seconds, and a line of progress for the reader."""

import json
import sys
import time
from pathlib import Path


class Log:
    """Averages the numbers of the steps since the last line, and writes them."""

    def __init__(self, path: Path, title: str, *, every_s: float = 10.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a")
        self.title, self.every_s = title, every_s
        self.last = self.start = time.monotonic()
        self.sums: dict[str, list[float]] = {}
        self.steps = 0  # since the last line; not every step has every number

    def step(self, step: int, done: float, **values: float) -> None:
        """Record one step's values; `done` is the run's share finished, 0..1."""
        self.steps += 1
        for name, value in values.items():
            self.sums.setdefault(name, []).append(value)
        now = time.monotonic()
        if now - self.last < self.every_s:
            return
        mean = {name: sum(v) / len(v) for name, v in self.sums.items()}
        rate = self.steps / (now - self.last)
        line = {"step": step, "done": done, "steps_per_s": rate, **mean}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in mean.items())
        print(f"{self.title}  {done:6.1%}  step {step}  {rate:.2f}/s  {numbers}", flush=True)
        self.last, self.sums, self.steps = now, {}, 0

    def close(self) -> None:
        """Flush and close the file."""
        self.file.close()
        sys.stdout.flush()
