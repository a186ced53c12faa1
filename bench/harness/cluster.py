"""The whole service as separate processes that can be killed, stopped and started again one by one.

SQLite or PostgreSQL, a folder or an S3 server, Redis, APIs, couriers and workers: all real. The
fault tests and the benchmarks use it. A process that dies is started again, as a supervisor would.
"""

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from app.contract.blobs import Blobs
from app.contract.queue import Queue
from app.contract.settings import Settings
from app.contract.store import Store
from app.embedded import redis_command
from app.migrations.upgrade import upgrade
from bench.harness.parts import ForkedPart, Part, Zygote
from bench.harness.proxy import Proxy
from worker.settings import WorkerSettings

#: Far above what anything here takes; a deadline against hanging, not a measurement.
PATIENCE_S = 300
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
#: What gives programs another time of day (https://github.com/wolfcw/libfaketime).
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Cluster:
    """Everything in one folder. `database` is sqlite or postgresql, `storage` folder or s3.

    With `clock` PostgreSQL and Redis go by the time that `set_clock` says. Jobs go by that of the
    database alone; Python under another clock could no longer sleep.
    """

    def __init__(
        self,
        folder: Path,
        checkpoint: Path,
        *,
        database: str = "sqlite",
        storage: str = "folder",
        workers: int = 1,
        couriers: int = 1,
        apis: int = 1,
        forked: bool = True,
        clock: bool = False,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.model = WorkerSettings(checkpoint=checkpoint).served_id
        self.proxy: Proxy | None = None
        self.parts: dict[str, Part] = {}
        self.sockets = folder / "s"
        self.sockets.mkdir(exist_ok=True)
        self.clock = self.sockets / "clock" if clock else None
        self._time: dict[str, str] = {}
        if self.clock is not None:
            self.clock.write_text("+0")
            self._time = {
                "LD_PRELOAD": str(FAKETIME[-1]),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        redis = self.sockets / "redis.sock"
        self._add("redis", redis_command(folder / "redis", redis), environment=self._time)
        settings = {
            "lease_s": 5.0,
            "heartbeat_s": 0.3,
            "sweep_s": 0.5,
            "stream_keep_s": 0.0,
            "log_format": "json",
            "host": "127.0.0.1",
            "port": free_port(),
        } | settings
        settings |= {"data": folder / "data", "redis_url": f"unix://{redis}"}
        if database == "postgresql":
            settings["database_url"] = self._postgresql()
        if storage == "s3":
            settings |= self._s3()
        self.settings = Settings(**settings)
        self.urls: list[str] = []
        common = self.settings.to_env() | {"OMP_NUM_THREADS": "1"} | (environment or {})
        for number in range(apis):
            port = self.settings.port if number == 0 else free_port()
            self.urls.append(f"http://127.0.0.1:{port}")
            self._python(f"api-{number}", "app.main", common | {"KINORA_PORT": str(port)})
        for number in range(couriers):
            self._python(f"courier-{number}", "worker.courier", common)
        common |= {
            "KINORA_CHECKPOINT": str(checkpoint),
            "KINORA_SCRATCH": str(folder / "scratch"),
            "KINORA_CHECKPOINT_S": "0.5",
            "KINORA_TORCH_THREADS": "1",
            "KINORA_ENCODE_PRESET": "ultrafast",
        } | (environment or {})
        self.zygote = Zygote(common, folder / "zygote.log") if forked else None
        for number in range(workers):
            name = f"worker-{number}"
            if self.zygote is not None:
                self.parts[name] = ForkedPart(name, [], folder / f"{name}.log", zygote=self.zygote)
            else:
                self._python(name, "worker.gpu", common | {"KINORA_WORKER_NAME": name})

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:  # nobody calls __exit__ then
            self._stop()
            raise
        return self

    def _begin(self) -> None:
        for name in ("redis", "postgresql", "s3"):
            if name in self.parts:
                self.parts[name].start()
        if self.proxy is not None:
            self.proxy.start()
        self.until(self._servers_ready, "the servers to answer")
        upgrade(self.settings.database_url)
        self.store = Store.open(self.settings.database_url)
        self.blobs = Blobs.open(self.settings)
        self.queue = Queue(self.settings.redis_url)
        if self.zygote is not None:
            self.store.models.register("zygote", self.zygote.capabilities)
        for part in self.parts.values():
            if not part.running:
                part.start()
        self.until(self.ready, "the service to be ready")

    def __exit__(self, *_error: object) -> None:
        self._stop()
        self.queue.close()
        self.store.close()

    def _stop(self) -> None:
        servers = ("redis", "postgresql", "s3")
        ours = [part for name, part in self.parts.items() if name not in servers]
        for part in ours:
            part.down = True
            if part.running:
                part.send(signal.SIGTERM)
                part.send(signal.SIGCONT)
        for part in ours:
            part.stop()
        for name in servers:
            if name in self.parts:
                self.parts[name].stop(signal.SIGINT if name == "postgresql" else signal.SIGKILL)
        if self.zygote is not None:
            self.zygote.close()
        if self.proxy is not None:
            self.proxy.stop()

    def ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return all(_answers(f"{url}/readyz") for url in self.urls)
        return False

    def revive(self) -> None:
        """Starts what died and is not to stay down."""
        for part in self.parts.values():
            if part.started and not part.running and not part.down:
                part.start()

    def until(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
        """Waits for `condition`, keeping everything alive; returns what it returned."""
        deadline = time.monotonic() + patience_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"waited in vain for {what}\n{self.logs()}"
            self.revive()
            time.sleep(0.05)
        return found

    def logs(self) -> str:
        """The last lines of every part that was started."""
        ends = {
            name: part.log.read_text(errors="replace")
            for name, part in self.parts.items()
            if part.log.exists()
        }
        return "\n".join(f"== {name}\n{text[-3000:]}" for name, text in ends.items())

    def processes(self, *words: str) -> list[int]:
        """Processes of this cluster, whoever started them, with these words in their command."""
        mark = f"KINORA_DATA={self.settings.data}".encode()
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                ours = mark in (entry / "environ").read_bytes().split(b"\0")
                if ours and command and all(word in command for word in words):
                    found.append(int(entry.name))
        return sorted(found)

    def set_clock(self, ahead_s: int) -> None:
        """Lets the time jump to so many seconds ahead of the true one."""
        assert self.clock is not None
        new = self.clock.with_suffix(".new")
        new.write_text(f"{ahead_s:+}")
        new.replace(self.clock)

    def _add(self, name: str, command: list[Any], **more: Any) -> None:
        self.parts[name] = Part(name, command, self.folder / f"{name}.log", **more)

    def _python(self, name: str, module: str, environment: dict[str, str]) -> None:
        self._add(name, [sys.executable, "-m", module], environment=environment)

    def _postgresql(self) -> str:
        data, programs = self.folder / "postgresql", POSTGRES[-1]
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            data.mkdir()
            for path in (data, self.sockets):
                shutil.chown(path, "nobody", "nogroup")
            for parent in (self.folder, *self.folder.parents):
                if str(parent).startswith("/tmp/"):  # noqa: S108 - the tests' own folders
                    parent.chmod(parent.stat().st_mode | 0o011)
        initdb = [programs / "initdb", "-D", data, "-U", "kinora", "--auth=trust", "-N"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=data, **user)
        options = ["-c", "fsync=off", "-c", "listen_addresses=", "-k", self.sockets]
        command = [programs / "postgres", "-D", data, *options]
        self._add("postgresql", command, environment=self._time, options={"cwd": data} | user)
        return f"postgresql://kinora@/postgres?host={self.sockets}"

    def _s3(self) -> dict[str, str]:
        port = free_port(4)
        keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret"}
        command = [Path(sys.executable).with_name("weed"), "mini", f"-dir={self.folder / 's3'}"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=clips", f"-s3.port={port}"]
        for n, name in enumerate(("master", "volume", "filer"), 1):
            command.append(f"-{name}.port={port + n}")
        command += ["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-webdav=false", "-admin.ui=false"]
        (self.folder / "s3").mkdir(exist_ok=True)
        self._add("s3", command, environment=keys | {"GOMEMLIMIT": "400MiB"})
        self.proxy = Proxy(free_port(), port)
        return {
            "storage_url": "s3://clips",
            "s3_endpoint": f"http://127.0.0.1:{self.proxy.port}",
            "s3_access_key_id": keys["AWS_ACCESS_KEY_ID"],
            "s3_secret_access_key": keys["AWS_SECRET_ACCESS_KEY"],
        }

    def _servers_ready(self) -> bool:
        try:
            if "postgresql" in self.parts:
                with closing(Store.open(self.settings.database_url)) as store:
                    store.database.engine.connect().close()
            with closing(Queue(self.settings.redis_url)) as queue:
                queue.check()
            Blobs.open(self.settings).check()
        except Exception:  # noqa: BLE001 - whatever a server that is starting does
            return False
        return True


def _answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
        return answer.status == 200


def free_port(count: int = 1) -> int:
    """The first of so many free ports; those 10000 above are free too (SeaweedFS takes both).

    None is one that the system gives to clients: who tries such a port of this machine before its
    server is there may be given it, and be connected to itself.
    """
    while True:
        first = random.randrange(12000, 22000)
        try:
            for port in (
                *range(first, first + count),
                *range(first + 10000, first + 10000 + count),
            ):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
