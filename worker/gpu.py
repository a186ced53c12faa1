"""A GPU worker: Celery's process. It can always be asked, and replaces its child (`child.py`), that
holds the checkpoint, when it died. `python -m worker.gpu` runs both.
"""

import os
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any

import structlog
from celery import signals  # pyright: ignore[reportMissingTypeStubs]
from celery.platforms import SecurityWarning  # pyright: ignore[reportMissingTypeStubs]

from app.contract import logs
from app.contract.queue import TASK, celery_app, queue_name
from app.contract.settings import Settings, SettingsError
from app.contract.store import Store
from worker import cards, scratch
from worker.child import UNUSABLE, Child, Flag
from worker.settings import WorkerSettings

log = structlog.get_logger()


def _calling(action: Callable[[], None]) -> Callable[..., None]:
    """A receiver of Celery's signals."""

    def receive(**_sent: Any) -> None:
        action()

    return receive


def celery_worker(settings: Settings, child: Child, stopping: Flag) -> Any:
    """Celery with the one task of a worker and the hooks of its processes' lives."""
    app = celery_app(settings.redis_url)

    @app.task(name=TASK)
    def render(job_id: str) -> None:  # pyright: ignore[reportUnusedFunction]
        log.debug("worker.woken", announced=job_id)
        child.work()

    on: Any = signals
    on.setup_logging.connect(_calling(lambda: None), weak=False)  # ours is set up already
    on.worker_process_init.connect(_calling(child.start), weak=False)
    on.worker_shutting_down.connect(_calling(stopping.set), weak=False)
    return app


def main() -> int:
    """The entry point: `python -m worker.gpu`."""
    # OpenMP's idle threads spin for long by default: on cores shared with other processes a 1080p
    # frame then took ten times as long to decode. Not to spin at all costs idle cores nearly half
    # as much again (docs/measured.md). It is read when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Else blocks of many sizes leave holes: a clip in little memory that needed 5.5 GiB took 8 of
    # the card.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    try:
        settings, worker = Settings.from_env(), WorkerSettings.from_env()
        model = worker.served_id
    except SettingsError as error:
        sys.stderr.write(f"kinora worker: {error}\n")
        return 2
    logs.setup(settings.log_level, settings.log_format, process="worker", worker=worker.name)
    card = None
    if worker.device in ("auto", "cuda") and "CUDA_VISIBLE_DEVICES" not in os.environ:
        card = cards.take()
    if card is not None:  # before torch is loaded, in the child
        os.environ["CUDA_VISIBLE_DEVICES"] = str(card.number)
    stopping, unusable = Flag(), Flag()
    child = Child(settings, worker, stopping, unusable)
    app = celery_worker(settings, child, stopping)
    log.info("worker.started", model=model)
    warnings.filterwarnings("ignore", category=SecurityWarning)  # messages are JSON, never pickle
    celery = app.Worker(
        hostname=f"{worker.name}@{socket.gethostname()}",
        queues=[queue_name(model)],
        pool="prefork",
        concurrency=1,
        without_gossip=True,
        without_mingle=True,
        loglevel="WARNING",
        quiet=True,
    )
    with scratch.held(worker, worker.name):
        celery.start()
    if card is not None:
        card.lock.close()
    if unusable.is_set():
        return UNUSABLE
    store = Store.open(settings.database_url)
    store.models.leave(worker.name)
    return celery.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
