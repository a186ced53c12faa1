"""For operators: is the process alive, can the service work, and numbers for Prometheus."""

from collections.abc import Callable

import redis
from fastapi import APIRouter, Response
from obstore.exceptions import BaseError
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from app.contract.blobs import BlobDamaged, BlobNotFound
from app.contract.job import Status
from app.parts import Parts, PartsOf

#: What a part that is down raises when it is asked.
DOWN = (SQLAlchemyError, redis.RedisError, BaseError, OSError, BlobDamaged, BlobNotFound)

router = APIRouter(tags=["operations"])


class NoWorker(OSError):
    """No worker is alive."""


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """200 as long as the process answers, however busy its threads are."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Which parts are down, and why"}})
def readyz(parts: PartsOf, response: Response) -> dict[str, str]:
    """200 when a video could be made now: database, Redis, storage and a worker are there."""
    checks: dict[str, Callable[[], object]] = {
        "database": parts.store.waiting,
        "redis": parts.queue.check,
        "storage": parts.blobs.check,
        "worker": lambda: _check_worker(parts),
    }
    report = {name: _state(check) for name, check in checks.items()}
    if set(report.values()) != {"ok"}:
        response.status_code = 503
        response.headers["retry-after"] = "2"
    return report


@router.get("/metrics", response_class=Response)
def metrics(parts: PartsOf) -> Response:
    """Jobs and workers as Prometheus gauges, read from the rows at each scrape."""
    registry = CollectorRegistry()
    jobs = Gauge("kinora_jobs", "Jobs by model and status", ["model", "status"], registry=registry)
    workers = Gauge("kinora_workers", "Living workers by model", ["model"], registry=registry)
    counts = parts.store.counts()
    for model in parts.store.models.list():
        name = model.capabilities.model_id
        workers.labels(name).set(model.workers)
        for status in Status:
            jobs.labels(name, status.value).set(0)
    for (name, status), count in counts.items():
        jobs.labels(name, status.value).set(count)
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")


def _check_worker(parts: Parts) -> None:
    if not any(model.workers for model in parts.store.models.list()):
        raise NoWorker("no worker is alive")


def _state(check: Callable[[], object]) -> str:
    try:
        check()
    except DOWN as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return "ok"
