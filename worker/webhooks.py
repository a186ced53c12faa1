"""Delivers events to their receivers, many at a time, so that a slow one holds up nobody."""

import threading
from threading import BoundedSemaphore, Event, Thread

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.contract.events import PENDING
from app.contract.outbox import Delivery
from app.contract.sending import Sender
from app.contract.settings import Settings
from app.contract.store import Store
from worker.metrics import DELIVERIES

#: Deliveries under way at a time, and of those at one receiver.
THREADS = 32
PER_RECEIVER = 2
POLL_S = 1.0
#: A delivery of which nothing was heard for so long beyond its timeout (a courier that was killed,
#: a resolver that hangs) is tried again.
LEASE_S = 45.0

log = structlog.get_logger()


def deliver(store: Store, settings: Settings, stopped: Event) -> None:
    """Makes due deliveries until `stopped`. What is under way then is tried again later."""
    sender = Sender(settings.webhook_timeout_s, settings.webhook_allow_private)
    slots = BoundedSemaphore(THREADS)
    while not stopped.is_set():
        due = _take(store, settings, slots)
        for delivery in due:
            try:
                Thread(target=_make, args=(store, sender, delivery, slots), daemon=True).start()
            except RuntimeError as error:  # the machine has no thread to spare just now
                log.warning("webhooks.failed", error=str(error))
                slots.release()
        if not due:
            stopped.wait(POLL_S)


def start(store: Store, settings: Settings, stopped: Event) -> threading.Thread:
    """`deliver` in a thread of its own."""
    thread = Thread(target=deliver, args=(store, settings, stopped), name="webhooks", daemon=True)
    thread.start()
    return thread


def _take(store: Store, settings: Settings, slots: BoundedSemaphore) -> list[Delivery]:
    """Due deliveries, for each of which a slot is held."""
    free = 0
    while free < THREADS and slots.acquire(blocking=False):
        free += 1
    due: list[Delivery] = []
    try:
        if free:
            lease_s = settings.webhook_timeout_s + LEASE_S
            due = store.webhooks.outbox.take(free, PER_RECEIVER, lease_s)
    except SQLAlchemyError as error:
        log.warning("webhooks.failed", error=str(error))
    for _ in range(free - len(due)):
        slots.release()
    return due


def _make(store: Store, sender: Sender, delivery: Delivery, slots: BoundedSemaphore) -> None:
    try:
        answer = sender.send(delivery.url, delivery.secrets, delivery.event_id, delivery.body)
        status = store.webhooks.outbox.record(delivery, answer)
    except SQLAlchemyError as error:  # when its lease has run out it is made again
        log.warning("webhooks.failed", error=str(error))
        return
    finally:
        slots.release()
    if status is not None:
        DELIVERIES.labels("retried" if status == PENDING else status).inc()
    log.info(
        "webhook.sent",
        event_id=delivery.event_id,
        attempt=delivery.attempt,
        status=answer.status_code,
        error=answer.error,
        seconds=round(answer.seconds, 3),
    )
