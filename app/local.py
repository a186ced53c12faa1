"""A whole service started for one command and stopped with it: `kinora serve` as a child."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from app.client import Client
from app.contract.settings import Settings
from app.supervisor import end_with_parent

#: Loading a large checkpoint from a slow disk takes minutes.
START_S = 900.0
STOP_S = 30.0


class StartError(RuntimeError):
    """The service did not come up; the message holds what it said last."""


@contextmanager
def service(
    data: Path,
    port: int | None = None,
    checkpoints: tuple[Path, ...] = (),
    key: str | None = None,
) -> Generator[Client]:
    """A client of a service over `data` on a free port, ready for requests. Raises StartError.

    For commands only: from then on SIGTERM ends this process in order, and the service with it.
    """
    port = port or free_port()
    data.mkdir(parents=True, exist_ok=True)
    log = data / "service.log"
    command = [sys.executable, "-m", "app.cli", "serve", "--data", data]
    command += ["--host", "127.0.0.1", "--port", str(port)]  # whatever KINORA_HOST says
    for folder in checkpoints:
        command += ["--checkpoint", folder]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # runs the `finally`
    with log.open("wb") as output:  # its own file: a pipe that nobody reads would fill up
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": _import_path()},
            # Ctrl-C is for the command, which still has to ask this service to cancel.
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - as in supervisor.py
        )
    try:
        with Client.of(f"http://127.0.0.1:{port}", key) as client:
            _wait(child, client, log)
            yield client
    finally:
        _stop(child)


def running(server: str | None, key: str | None, settings: Settings) -> Client:
    """A client of `server`, or of the service of these settings when none is named."""
    return Client.of(server or settings.url, key)


@contextmanager
def reach(server: str | None, key: str | None, settings: Settings) -> Generator[Client]:
    """As `running`; but when no server is named and none runs here, one is started for this call.

    Raises StartError.
    """
    with running(server, key, settings) as client:
        if server is not None or client.is_alive():
            yield client
            return
    sys.stderr.write("no service is running here: starting one for this call\n")
    with service(settings.data, key=key) as client:
        yield client


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(child: subprocess.Popen[bytes], client: Client, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not client.is_ready():
        if child.poll() is not None or time.monotonic() > deadline:
            said = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise StartError(f"the service did not start; {log} ends with:\n{said}")
        time.sleep(0.2)


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _import_path() -> str:
    """Where this package is, for a child that runs elsewhere."""
    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
