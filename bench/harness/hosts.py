"""Several hosts on this one machine: network namespaces with their own addresses and cables.

The servers of a cluster stay where they are; the hosts reach them at the gateway's address, over
the network and nothing else, so a pulled cable cuts a host off from all of them. Needs root.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

from bench.harness.cluster import Cluster
from bench.harness.parts import Part
from bench.harness.proxy import Proxy

#: A block for documentation (RFC 5737) that no real network here has.
NETWORK = "203.0.113"
GATEWAY = f"{NETWORK}.1"
IP = shutil.which("ip")
REDIS, POSTGRESQL, STORAGE, API = 6379, 5432, 8333, 8000


def available() -> bool:
    """Whether this process may make network namespaces."""
    if os.geteuid() != 0 or IP is None:
        return False
    try:
        _ip("netns", "add", "kinora-probe")
    except subprocess.CalledProcessError:
        return False
    _ip("netns", "del", "kinora-probe")
    return True


class Hosts:
    """Hosts with an API and a worker each, for a cluster on PostgreSQL and S3 that has started."""

    def __init__(self, cluster: Cluster, checkpoint: Path, names: list[str]) -> None:
        assert cluster.proxy is not None
        self.cluster = cluster
        self.checkpoint = checkpoint
        self.names = names
        sockets = cluster.sockets
        self._relays = [
            Proxy(REDIS, sockets / "redis.sock", GATEWAY),
            Proxy(POSTGRESQL, sockets / ".s.PGSQL.5432", GATEWAY),
            Proxy(STORAGE, cluster.proxy.port, GATEWAY),
        ]

    def __enter__(self) -> Self:
        _ip("link", "add", "kinora", "type", "bridge")
        _ip("address", "add", f"{GATEWAY}/24", "dev", "kinora")
        _ip("link", "set", "kinora", "up")
        for number, name in enumerate(self.names):
            space, cable = f"kinora-{name}", _cable(name)
            _ip("netns", "add", space)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", cable, "master", "kinora", "up")
            _ip("-n", space, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
        for relay in self._relays:
            relay.start()
        for number, name in enumerate(self.names):
            self._start(number, name)
        self.cluster.urls = [f"http://{self.address(n)}:{API}" for n in range(len(self.names))]
        self.cluster.until(self.cluster.ready, "the hosts' APIs to be ready")
        self.cluster.until(self._all_work, "the hosts' workers to be ready")
        return self

    def _all_work(self) -> bool:
        models = self.cluster.store.models.list()
        return sum(model.workers for model in models) >= len(self.names)

    def __exit__(self, *_error: object) -> None:
        for name in self.names:
            for part in (f"api-{name}", f"worker-{name}"):
                self.cluster.parts[part].stop()
            _ip("netns", "del", f"kinora-{name}")
        for relay in self._relays:
            relay.stop()
        _ip("link", "del", "kinora")

    def address(self, number: int) -> str:
        """The address of a host."""
        return f"{NETWORK}.{number + 2}"

    def cut(self, name: str) -> None:
        """Pulls a host's cable."""
        _ip("link", "set", _cable(name), "down")

    def join(self, name: str) -> None:
        """Puts it in again."""
        _ip("link", "set", _cable(name), "up")

    def _start(self, number: int, name: str) -> None:
        folder = self.cluster.folder
        environment = self.cluster.settings.to_env() | {
            "KINORA_HOST": self.address(number),
            "KINORA_PORT": str(API),
            "KINORA_DATA": str(folder / name),
            "KINORA_REDIS_URL": f"redis://{GATEWAY}:{REDIS}/0",
            "KINORA_DATABASE_URL": f"postgresql://kinora@{GATEWAY}:{POSTGRESQL}/postgres",
            "KINORA_S3_ENDPOINT": f"http://{GATEWAY}:{STORAGE}",
            "KINORA_CHECKPOINT": str(self.checkpoint),
            "KINORA_SCRATCH": str(folder / name / "scratch"),
            "KINORA_CHECKPOINT_S": "0.5",
            "KINORA_TORCH_THREADS": "1",
            "KINORA_WORKER_NAME": f"worker-{name}",
            "OMP_NUM_THREADS": "1",
        }
        for kind, module in (("api", "app.main"), ("worker", "worker.gpu")):
            command = [IP, "netns", "exec", f"kinora-{name}", sys.executable, "-m", module]
            log = folder / f"{kind}-{name}.log"
            part = Part(f"{kind}-{name}", command, log, environment)
            self.cluster.parts[part.name] = part
            part.start()


def _cable(name: str) -> str:
    return f"kinora-{name}"


def _ip(*arguments: str) -> None:
    subprocess.run([str(IP), *arguments], check=True, capture_output=True)
