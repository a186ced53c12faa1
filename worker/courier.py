"""The courier process: sweeps every few seconds, and delivers webhooks. It never imports torch."""

import signal
import sys
import threading
import time

import structlog
from obstore.exceptions import BaseError as StorageError
from sqlalchemy.exc import SQLAlchemyError

from app.contract import logs
from app.contract.blobs import Blobs
from app.contract.queue import Queue
from app.contract.settings import Settings, SettingsError
from app.contract.store import Store
from worker import metrics, webhooks
from worker.orphans import EVERY_S, remove_orphans
from worker.settings import WorkerSettings
from worker.sweep import sweep

log = structlog.get_logger()


def run(settings: Settings, stopped: threading.Event) -> None:
    """Sweeps and delivers until `stopped`; what is down is logged, and tried again next time."""
    store, queue = Store.open(settings.database_url), Queue(settings.redis_url)
    blobs = Blobs.open(settings)
    webhooks.start(store, settings, stopped)
    orphans_at = time.monotonic()
    while not stopped.is_set():
        began = time.monotonic()
        try:
            sweep(store, queue, blobs, settings)
            if settings.orphan_hours and began >= orphans_at:
                remove_orphans(store, blobs, settings.orphan_hours * 3600)
                orphans_at = began + EVERY_S
        except (SQLAlchemyError, StorageError, OSError) as error:
            log.warning("sweep.failed", error=str(error))
        stopped.wait(max(0.0, settings.sweep_s - (time.monotonic() - began)))
    queue.close()
    store.close()


def main() -> int:
    """The entry point: `python -m worker.courier`."""
    try:
        settings, own = Settings.from_env(), WorkerSettings.from_env()
    except SettingsError as error:
        sys.stderr.write(f"kinora courier: {error}\n")
        return 2
    logs.setup(settings.log_level, settings.log_format, process="courier")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopped.set())
    metrics.serve(own.metrics_port)
    log.info("courier.started")
    run(settings, stopped)
    return 0


if __name__ == "__main__":
    sys.exit(main())
