"""The API with a full database: requests a second, and event streams held open.

Starts `app.main` with a Redis server and a SQLite file of its own, writes 10,000 jobs, and asks
from another process, this one, over plain sockets, so that the asking costs little. Prints two
tables. No worker runs: a job's row is all that these calls read.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from app.contract.capabilities import Capabilities
from app.contract.creation import new_job_id
from app.contract.job import JobSpec
from app.contract.settings import Settings
from app.contract.store import Store
from app.contract.tables import jobs
from app.embedded import redis_command
from app.migrations.upgrade import upgrade

OWNER = ""  # without a key everybody on this machine is one owner
MODEL = Capabilities(
    model_id="none",
    width=832,
    height=480,
    frames=81,
    fps=16,
    steps=50,
    guidance=5.0,
    grid=16,
    max_pixels=1920 * 1088,
    max_frames=1001,
    modes=("text",),
    sizes=((832, 480),),
)


def fill(store: Store, count: int) -> list[str]:
    """Writes `count` jobs, one in ten of them waiting, the others completed; returns all ids."""
    same = ("width", "height", "frames", "fps", "steps", "guidance")
    asked = {name: getattr(MODEL, name) for name in same}
    spec = JobSpec(model="none", prompt="a red ball moves right over the sea", seed=1, **asked)
    first, _ = store.create(spec, owner=OWNER)
    with store.database.write() as connection:
        row = dict(connection.execute(sa.select(jobs)).mappings().one())
        rows = []
        for number in range(count - 1):
            waits = number % 10 == 0
            rows.append(
                row
                | {
                    "id": new_job_id(),
                    "created_at": row["created_at"] - number,
                    "status": "queued" if waits else "completed",
                    "progress": 0.0 if waits else 1.0,
                    "finished_at": None if waits else row["created_at"],
                    "prompt_number": number,
                }
            )
        for each in rows:
            each["words"] = f"a red ball number {each.pop('prompt_number')}"
        connection.execute(sa.insert(jobs), rows)
    return [first.id, *(each["id"] for each in rows)]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Settings, Store, subprocess.Popen[bytes]]]:
    """The API's process with its database and Redis; all end with the block."""
    socket = folder / "redis.sock"
    settings = Settings(
        data=folder, redis_url=f"unix://{socket}", port=free_port(), log_level="warning",
        max_queued=10**6,
    )  # fmt: skip
    upgrade(settings.database_url)
    with (folder / "log").open("wb") as log:
        redis = subprocess.Popen(redis_command(folder / "redis", socket), stdout=log, stderr=log)
        api = subprocess.Popen(
            [sys.executable, "-m", "app.main"],
            env=os.environ | settings.to_env(),
            cwd=Path(__file__).parents[1],
            stdout=log,
            stderr=log,
        )
        store = Store.open(settings.database_url)
        try:
            wait_for(f"http://127.0.0.1:{settings.port}/healthz", api)
            store.models.register("bench", MODEL)
            yield settings, store, api
        finally:
            store.close()
            for process in (api, redis):
                process.terminate()
                process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Returns when the address answers."""
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own http address
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


class Connection:
    """One HTTP connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of the answer, which must be a 200."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
        self._writer.write(f"{head}content-type: application/json\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        said = await self._reader.readexactly(length)
        if b" 200 " not in answer.split(b"\r\n")[0]:
            raise RuntimeError(f"{method} {path}: {answer[:80]!r} {said[:300]!r}")
        return said

    def close(self) -> None:
        """Lets go."""
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True, slots=True)
class Measured:
    """How long each request took, and all of them together."""

    times_s: list[float]
    elapsed_s: float

    def row(self) -> str:
        """Requests a second, median and 99th percentile in milliseconds."""
        cuts = statistics.quantiles(self.times_s, n=100)
        rate = len(self.times_s) / self.elapsed_s
        return f"{rate:.0f} | {1000 * cuts[49]:.1f} | {1000 * cuts[98]:.1f}"


async def load(
    port: int, connections: int, seconds: float, ask: Callable[[Connection], object]
) -> Measured:
    """Asks on so many connections for so long, each at once after its last answer."""
    times: list[float] = []
    start = time.perf_counter()

    async def one() -> None:
        connection = Connection(port)
        while (now := time.perf_counter()) < start + seconds:
            await ask(connection)  # type: ignore[misc]
            times.append(time.perf_counter() - now)
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return Measured(times, time.perf_counter() - start)


@asynccontextmanager
async def watching(
    port: int, ids: list[str], told: dict[str, float]
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Open event streams; each ends with its job, and `told` gets the time of that."""
    first: list[asyncio.Event] = []

    async def watch(job_id: str, here: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /v1/videos/{job_id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                here.set()
                if b'"status":"failed"' in line.replace(b": ", b":"):
                    told[job_id] = time.perf_counter()
                    break
        writer.close()

    tasks: list[asyncio.Task[None]] = []
    for job_id in ids:
        first.append(asyncio.Event())
        tasks.append(asyncio.create_task(watch(job_id, first[-1])))
    await asyncio.gather(*(event.wait() for event in first))
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """CPU time that a process has used, of all its threads."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: subprocess.Popen[bytes]) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


async def measure(seconds: float, count: int, streams: int, folder: Path) -> None:
    """Prints both tables."""
    with serving(folder) as (settings, store, api):
        ids = fill(store, count)
        port, draw = settings.port, random.Random(0)
        waiting = [job.id for job in store.list(OWNER, limit=10**6).jobs if not job.finished]
        body = json.dumps({"prompt": "a red ball"}).encode()
        numbers = itertools.count()
        calls: dict[str, Callable[[Connection], object]] = {
            "poll a finished job": lambda c: c.ask("GET", f"/v1/videos/{draw.choice(ids[1:])}"),
            "poll a waiting job": lambda c: c.ask("GET", f"/v1/videos/{draw.choice(waiting)}"),
            "list 20": lambda c: c.ask("GET", "/v1/videos"),
            "search": lambda c: c.ask("GET", f"/v1/videos?search=number+{next(numbers) % 999}"),
            "create": lambda c: c.ask("POST", "/v1/videos", body),
        }
        print(f"{count} jobs, {len(waiting)} of them waiting; one API process, SQLite\n")
        print("| call | connections | requests/s | median ms | p99 ms | CPU ms of the API, each |")
        print("|---|---|---|---|---|---|")
        for (name, ask), connections in itertools.product(calls.items(), (1, 32)):
            used = cpu_s(api)
            measured = await load(port, connections, seconds, ask)
            each_ms = 1000 * (cpu_s(api) - used) / len(measured.times_s)
            print(f"| {name} | {connections} | {measured.row()} | {each_ms:.1f} |", flush=True)

        before, told = memory_mb(api), dict[str, float]()
        start = time.perf_counter()
        async with watching(port, waiting[:streams], told) as streaming:
            opened = time.perf_counter() - start
            held = memory_mb(api)
            measured = await load(port, 8, seconds, calls["poll a finished job"])
            ended, begun = waiting[: min(50, streams)], {}
            connection = Connection(port)
            for job_id in ended:
                begun[job_id] = time.perf_counter()
                await connection.ask("POST", f"/v1/videos/{job_id}/cancel")
            await asyncio.wait(streaming[: len(ended)], timeout=60)
        delays = sorted(told[job_id] - begun[job_id] for job_id in told)
        print(f"\n| {streams} event streams | |\n|---|---|")
        print(f"| all opened, and told their job's state, in | {opened:.1f} s |")
        print(f"| memory for each | {1024 * (held - before) / streams:.0f} KB |")
        print(f"| polls meanwhile, 8 connections: a second, median ms, p99 ms | {measured.row()} |")
        print(f"| told of a change after, median | {statistics.median(delays):.2f} s |")
        print(f"| told of a change after, longest of {len(delays)} | {delays[-1]:.2f} s |")


def main() -> None:
    """Reads the options and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kinora-bench-") as folder:
        asyncio.run(measure(options.seconds, options.jobs, options.streams, Path(folder)))


if __name__ == "__main__":
    main()
