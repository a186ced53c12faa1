"""Prometheus metrics of workers and courier."""

import time

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

from app.contract.job import Stage

ENDED = Counter("kinora_jobs_ended", "Jobs that left a worker, by outcome.", ["outcome"])
STAGE_SECONDS = Histogram(
    "kinora_stage_seconds",
    "Time that a job spent in a stage.",
    ["stage"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
)
LOAD_SECONDS = Gauge("kinora_model_load_seconds", "Time that loading the checkpoint took.")
JOBS = Gauge("kinora_jobs", "Jobs by model and status.", ["model", "status"])
REQUEUED = Counter("kinora_jobs_requeued", "Jobs taken from a lost worker.")


class StageClock:
    """Measures how long a job stays in each stage."""

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._since = time.monotonic()

    def enter(self, stage: Stage | None) -> None:
        """Ends the stage before, unless it is the same; None ends the last one."""
        if stage is self._stage:
            return
        now = time.monotonic()
        if self._stage is not None:
            STAGE_SECONDS.labels(self._stage.value).observe(now - self._since)
        self._stage, self._since = stage, now


def serve(port: int) -> None:
    """Shows this process's metrics on a port, unless it is 0."""
    if port:
        prometheus_client.start_http_server(port)
