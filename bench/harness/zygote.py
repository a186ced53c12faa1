"""Workers that start at once: a process that has loaded a checkpoint forks them on demand.

What they do with a job is `worker.render` itself; instead of waiting for messages they ask the
database. Killing such a worker is as deadly as killing a real one, but the next one needs no
seconds to import torch. It prints what it can do and then, for each line with a worker's name and
log on stdin, the id of the new process.
"""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch

from app.contract import logs
from app.contract.blobs import Blobs
from app.contract.previews import Previews
from app.contract.queue import Queue
from app.contract.settings import Settings
from app.contract.store import Store
from model import Pipeline
from worker import scratch
from worker.abilities import capabilities_of, usable_bytes
from worker.render import render
from worker.settings import WorkerSettings
from worker.workplace import Workplace

LOOK_S, SEEN_S = 0.1, 2.0


def main() -> None:
    """Nothing that has threads may be opened before the fork."""
    settings, worker = Settings.from_env(), WorkerSettings.from_env()
    torch.set_num_threads(1)
    pipeline = Pipeline.load(worker.folder)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(capabilities_of(pipeline, worker.served_id, "cpu").to_json(), flush=True)
    for line in sys.stdin:
        name, log = line.split()
        child = os.fork()
        if child == 0:
            _work(name, Path(log), pipeline, settings, replace(worker, worker_name=name))
        print(child, flush=True)


def _work(
    name: str, log: Path, pipeline: Pipeline, settings: Settings, worker: WorkerSettings
) -> None:
    """One worker, until SIGTERM."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
        os.dup2(os.open(log if stream else os.devnull, flags), stream)
    os.dup2(1, 2)
    logs.setup(settings.log_level, "json", process="worker", worker=name)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopping.set())
    place = Workplace(
        pipeline=pipeline,
        store=Store.open(settings.database_url),
        blobs=Blobs.open(settings),
        queue=Queue(settings.redis_url),
        previews=Previews(settings.redis_url),
        settings=settings,
        worker=worker,
        usable=usable_bytes("cpu"),
        scratch=scratch.emptied(worker, name),
        stopping=stopping.is_set,
    )
    model, able = worker.served_id, capabilities_of(pipeline, worker.served_id, "cpu")
    seen = time.monotonic()
    while not stopping.wait(LOOK_S):
        try:
            if time.monotonic() > seen:
                place.store.models.beat("zygote", able)
                seen += SEEN_S
            job = place.store.claim(model, name, settings.lease_s)
        except Exception as error:  # noqa: BLE001 - the database is away
            print(error, flush=True)
            continue
        if job is not None and not render(job, place):
            stopping.wait(1.0)  # as a real worker pauses
    os._exit(0)


if __name__ == "__main__":
    main()
