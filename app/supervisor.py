"""Keeps processes running: starts again what dies, and ends all of them together."""

import ctypes
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

#: Exit statuses that another start would not change: wrong settings, an unusable checkpoint.
HOPELESS = (2, 3)
POLL_S = 0.2
#: A part that ran for so long counts as started well, and its next pause is short again.
STEADY_S = 30.0
LONGEST_PAUSE_S = 15.0
STOP_S = 20.0
LOG_LINES = 15

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

log = structlog.get_logger()


class ServiceError(RuntimeError):
    """The service cannot start or go on; the message says why and what to do."""


@dataclass(slots=True)
class Part:
    """One process to keep running."""

    name: str
    command: list[str]
    environment: dict[str, str]
    #: None lets the process write to the supervisor's own stderr
    log_path: Path | None = None
    #: ends after the others
    last: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    deaths: int = 0
    not_before: float = 0.0

    def start(self, kept_open: tuple[int, ...]) -> None:
        """Starts the process, in its own session so that Ctrl-C reaches the supervisor alone."""
        output = self.log_path.open("ab") if self.log_path else None
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            pass_fds=kept_open,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - prctl has no other way and takes no lock
        )
        self.started = time.monotonic()
        if output:
            output.close()

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        """Asks the process to end. It ends what it started itself: a worker's child is to hand its
        job back first.
        """
        if self.process is not None:
            self.process.terminate()

    def kill(self) -> None:
        """Kills the process and what it started."""
        if self.process is not None and self.running:
            os.killpg(self.process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The end of its log, or where to look for that."""
        if self.log_path is None:
            return "the last error above says why."
        if not self.log_path.exists():
            return f"it left no log at {self.log_path}."
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "it said last:\n" + "\n".join(lines)


class Supervisor:
    """Runs the parts from a thread of its own until `stop`, or until one of them is hopeless."""

    def __init__(self, parts: list[Part], kept_open: tuple[int, ...] = ()) -> None:
        """`kept_open` are file descriptors that every part holds, such as a lock's."""
        self.parts = parts
        self.error: ServiceError | None = None
        self.ended = threading.Event()
        self._kept_open = kept_open
        self._stopping = threading.Event()
        # The parts get SIGTERM when the thread that started them ends, so one thread does it all.
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Starts all parts."""
        self._thread.start()

    def stop(self) -> None:
        """Ends all parts and waits for it."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and self.error is None:
                for part in self.parts:
                    self._look_after(part)
                self._stopping.wait(POLL_S)
        finally:
            self._end([part for part in self.parts if not part.last])
            self._end([part for part in self.parts if part.last])
            self.ended.set()

    def _look_after(self, part: Part) -> None:
        if part.running or time.monotonic() < part.not_before:
            return
        if part.process is None or part.not_before:
            part.not_before = 0.0
            try:
                part.start(self._kept_open)
            except OSError as error:  # the machine has no process to spare just now
                self._start_later(part, str(error))
            return
        status = part.process.returncode
        if status in HOPELESS:
            self.error = ServiceError(f"{part.name} cannot run: {part.last_words()}")
            return
        if time.monotonic() - part.started > STEADY_S:
            part.deaths = 0
        self._start_later(part, status)

    def _start_later(self, part: Part, status: int | str) -> None:
        part.deaths += 1
        pause = min(LONGEST_PAUSE_S, 0.25 * 2 ** min(part.deaths, 10))  # a float has an end
        part.not_before = time.monotonic() + pause
        log.warning("part.died", part=part.name, status=status, restart_in_s=pause)

    def _end(self, parts: list[Part]) -> None:
        for part in parts:
            part.terminate()
        deadline = time.monotonic() + STOP_S
        for part in parts:
            if part.process is None:
                continue
            try:
                part.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("part.killed", part=part.name)
                part.kill()
                part.process.wait()


def end_with_parent() -> None:
    """In the new process: asks the kernel for SIGTERM when the parent dies, however it dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
