"""Faults while jobs run: how many jobs are lost or done twice, and how long until work goes on.

    python bench/faults.py [--checkpoint FOLDER] [--times 5] [--only NAME] [--database sqlite] …

Workers are forked, which spares their start, and ask the database for work; with `--real` they are
as in production, a parent and a child, and are woken by messages.

Every trial starts two jobs, disturbs the service at a random moment, and waits for both clips. They
must be the same to the bit as when nothing is disturbed, and nothing may be left behind: no blobs
of other attempts, temporary files, processes, leases or messages.
"""

import argparse
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.contract.job import Status
from app.embedded import default_checkpoint
from bench.harness.cluster import FAKETIME, Cluster
from bench.harness.trials import LONG, SHORT, Trials

# The faults. Each disturbs and, where that is needed, undoes it.

Fault = Callable[[Trials], None]


def kill_worker(trials: Trials) -> None:
    """The process that has a job, its parent with it."""
    trials.cluster.parts[trials.holder()].send(signal.SIGKILL)


def kill_workers_child(trials: Trials) -> None:
    """The process with the checkpoint alone."""
    parent = trials.cluster.parts[trials.holder()].pid
    with suppress(OSError):
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


def stop_worker(trials: Trials) -> None:
    """As a scale-down does; it is started again."""
    with suppress(ProcessLookupError):
        os.kill(trials.cluster.parts[trials.holder()].pid, signal.SIGTERM)


def freeze_worker(trials: Trials) -> None:
    """Longer than its lease; another worker goes on meanwhile."""
    part = trials.cluster.parts[trials.holder()]
    part.send(signal.SIGSTOP)
    trials.pause(trials.cluster.settings.lease_s * 2)
    part.send(signal.SIGCONT)


def kill_ffmpeg(trials: Trials) -> None:
    """Every encoder that runs at this moment."""
    for process in trials.cluster.processes("ffmpeg"):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def kill(name: str) -> Fault:
    """One part; it is started again."""

    def fault(trials: Trials) -> None:
        trials.cluster.parts[name].send(signal.SIGKILL)

    return fault


def freeze(name: str, seconds: float) -> Fault:
    """One part that does nothing for a while."""

    def fault(trials: Trials) -> None:
        trials.cluster.parts[name].send(signal.SIGSTOP)
        trials.pause(seconds)
        trials.cluster.parts[name].send(signal.SIGCONT)

    return fault


def empty_redis(trials: Trials) -> None:
    """Its messages are gone."""
    part = trials.cluster.parts["redis"]
    part.stop(signal.SIGKILL)
    for file in (trials.cluster.folder / "redis" / "appendonlydir").glob("*"):
        file.unlink()
    part.start()


def restart_database(trials: Trials) -> None:
    """PostgreSQL shut down fast and started again; a SQLite file that somebody else locks."""
    cluster = trials.cluster
    if "postgresql" in cluster.parts:
        cluster.parts["postgresql"].stop(signal.SIGINT)
        trials.pause(2)
        cluster.parts["postgresql"].start()
        return
    with sqlite3.connect(cluster.settings.data / "kinora.db", isolation_level=None) as file:
        file.execute("BEGIN EXCLUSIVE")
        trials.pause(3)
        file.execute("ROLLBACK")


def kill_database(trials: Trials) -> None:
    """PostgreSQL without a shutdown."""
    trials.cluster.parts["postgresql"].send(signal.SIGQUIT)


def storage(mode: str | int, seconds: float) -> Fault:
    """What the S3 server answers for a while."""

    def fault(trials: Trials) -> None:
        assert trials.cluster.proxy is not None
        trials.cluster.proxy.set(mode)
        trials.pause(seconds)
        trials.cluster.proxy.set("ok")

    return fault


def jump(seconds: int) -> Fault:
    """The clocks of PostgreSQL and Redis are set wrong, and set right a while later."""

    def fault(trials: Trials) -> None:
        trials.cluster.set_clock(seconds)
        trials.pause(3)
        trials.cluster.set_clock(0)

    return fault


def spare_messages(trials: Trials) -> None:
    """As redelivered or duplicated ones would be."""
    trials.cluster.queue.wake(trials.cluster.model, ["spare"] * 5)


FAULTS: dict[str, Fault] = {
    "worker killed": kill_worker,
    "worker told to stop": stop_worker,
    "worker frozen beyond its lease": freeze_worker,
    "ffmpeg killed": kill_ffmpeg,
    "API killed": kill("api-0"),
    "courier killed": kill("courier-0"),
    "Redis killed": kill("redis"),
    "Redis comes back empty": empty_redis,
    "Redis frozen for 6 s": freeze("redis", 6),
    "database restarted": restart_database,
}
#: Of workers as they are in production: forked ones have no child and take no messages.
OF_REAL: dict[str, Fault] = {
    "worker's child killed": kill_workers_child,
    "five spare messages": spare_messages,
}
OF_POSTGRESQL: dict[str, Fault] = {"database killed": kill_database}
OF_S3: dict[str, Fault] = {
    "storage down for 10 s": storage("cut", 10),
    "storage answers nothing for 10 s": storage("hole", 10),
    "storage answers 503 for 10 s": storage("503", 10),
    "storage breaks uploads for 10 s": storage(20_000, 10),
    "storage full for 10 s": storage("full", 10),
}
OF_CLOCKS: dict[str, Fault] = {
    "clocks an hour ahead for 3 s": jump(3600),
    "clocks an hour behind for 3 s": jump(-3600),
}


def faults_of(cluster: Cluster) -> dict[str, Fault]:
    """The faults that disturb something there."""
    found = dict(FAULTS)
    found |= OF_REAL if cluster.zygote is None else {}
    found |= OF_POSTGRESQL if "postgresql" in cluster.parts else {}
    found |= OF_S3 if cluster.proxy is not None else {}
    return found | (OF_CLOCKS if cluster.clock is not None else {})


@dataclass
class Tally:
    """One row of the table."""

    tried: int = 0
    lost: int = 0
    twice: int = 0
    left: int = 0
    resumed_s: list[float] = field(default_factory=list)
    #: what went wrong
    words: list[str] = field(default_factory=list)


def trial(trials: Trials, fault: Fault, tally: Tally) -> None:
    """One fault at a random moment of a job's life."""
    tally.tried += 1
    long, short = trials.create(LONG), trials.create(SHORT)
    moment = trials.random.random()
    trials.wait(
        long,
        lambda j: j.finished or (j.status is Status.IN_PROGRESS and j.progress >= moment),
        "the moment to come",
    )
    before = trials.get(long)
    fault(trials)
    hit = time.monotonic()
    if before is not None and not before.finished:
        reached = before.progress + 0.01
        trials.wait(long, lambda j: j.finished or j.progress > reached, "work to go on")
        tally.resumed_s.append(time.monotonic() - hit)
    for job_id, fields in ((long, LONG), (short, SHORT)):
        try:
            trials.wait_completed(job_id, fields)
            tally.twice += trials.completions(job_id) > 1
        except AssertionError as error:
            tally.lost += 1
            tally.words.append(f"lost {job_id}: {error} {trials.last_words(job_id)}")
    try:
        trials.assert_nothing_left()
    except AssertionError:
        tally.left += 1
        tally.words.append(f"left {trials.left()}")


def row(name: str, tally: Tally) -> str:
    """A line of the table."""
    times = sorted(tally.resumed_s) or [0.0]
    middle, worst = times[len(times) // 2], times[-1]
    return (
        f"| {name} | {tally.tried} | {tally.lost} | {tally.twice} | {tally.left} "
        f"| {middle:.1f} | {worst:.1f} |"
    )


def main() -> None:
    """Tries every fault and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", action="append", help="the name of a fault; repeatable")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--storage", choices=["folder", "s3"], default="s3")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, default=default_checkpoint())
    parser.add_argument(
        "--real", action="store_true", help="workers that Celery starts, not forked ones"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kinora-faults-") as folder,
        Cluster(
            Path(folder),
            asked.checkpoint,
            database=asked.database,
            storage=asked.storage,
            workers=asked.workers,
            couriers=2,
            forked=not asked.real,
            clock=asked.database == "postgresql" and bool(FAKETIME),
        ) as cluster,
    ):
        trials = Trials(cluster, asked.seed)
        trials.learn()
        print(f"{asked.database}, {asked.storage}; a job takes {trials.usual_s:.1f} s alone\n")
        print("| fault | tried | lost | twice | left | s until work goes on: median | most |")
        print("|---|---|---|---|---|---|---|", flush=True)
        faults = faults_of(cluster)
        for name in asked.only or faults:
            if name not in faults:
                parser.error(f"--only: {name} is no fault here; these are: {', '.join(faults)}")
            tally = Tally()
            for _ in range(asked.times):
                trial(trials, faults[name], tally)
            print(row(name, tally), flush=True)
            for words in tally.words:
                print(words[:3000], file=sys.stderr)


if __name__ == "__main__":
    main()
