"""The processes of a cluster: to be started, signalled, and started again."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from app.contract.capabilities import Capabilities


@dataclass
class Part:
    """One program. `down` is set while it is to stay dead."""

    name: str
    command: list[Any]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    down: bool = False

    def start(self) -> None:
        self.down = False
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.options,
            )

    @property
    def started(self) -> bool:
        return self.process is not None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: int) -> None:
        """To the process and all it has started that is still in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it; it stays down."""
        self.down = True
        deadline = time.monotonic() + 30
        while self.running:
            self.send(number)
            self.send(signal.SIGCONT)
            time.sleep(0.05)
            if time.monotonic() > deadline:
                number = signal.SIGKILL


class Zygote:
    """A process that forks workers which have their checkpoint at once (zygote.py)."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.harness.zygote"],
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the workers can do: the first thing that it says, once the checkpoint is loaded."""
        assert self._process.stdout is not None
        return Capabilities.from_json(self._process.stdout.readline())

    def fork(self, name: str, log: Path) -> int:
        """The process id of a new worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name} {log}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        with self._process:  # closes its pipes and waits
            pass


@dataclass
class ForkedPart(Part):
    """A worker that a zygote forks."""

    zygote: Zygote | None = None
    number: int = 0

    def start(self) -> None:
        assert self.zygote is not None
        self.down = False
        self.number = self.zygote.fork(self.name, self.log)

    @property
    def started(self) -> bool:
        return self.number != 0

    @property
    def pid(self) -> int:
        return self.number

    @property
    def running(self) -> bool:
        with suppress(OSError):
            state = Path(f"/proc/{self.number}/stat").read_text().rpartition(")")[2].split()[0]
            return self.started and state != "Z"
        return False
