"""Prometheus metrics of workers and courier."""

import time

import prometheus_client
import structlog
from prometheus_client import Counter, Gauge, Histogram

from app.contract.job import Stage

log = structlog.get_logger()

ENDED = Counter("kinora_jobs_ended", "Jobs that left a worker, by outcome.", ["outcome"])
STAGE_SECONDS = Histogram(
    "kinora_stage_seconds",
    "Time that a job spent in a stage.",
    ["stage"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
)
LOAD_SECONDS = Gauge("kinora_model_load_seconds", "Time that loading the checkpoint took.")
JOBS = Gauge("kinora_jobs", "Jobs by model and status.", ["model", "status"])
DELIVERIES = Counter("kinora_webhook_attempts", "Attempts at webhooks, by outcome.", ["outcome"])
for _outcome in ("delivered", "retried", "failed"):
    DELIVERIES.labels(_outcome)  # from 0 on: of one that appears as 1, Prometheus sees no increase
REQUEUED = Counter("kinora_jobs_requeued", "Jobs taken from a lost worker.")


class StageClock:
    """Measures how long a job is in each stage, also when stages take turns."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}
        self._stage: Stage | None = None
        self._since = time.monotonic()

    def enter(self, stage: Stage) -> None:
        """Ends the stage before, unless it is the same."""
        if stage is not self._stage:
            self._leave()
            self._stage = stage

    def stop(self) -> None:
        """Ends the last stage and publishes what was measured."""
        self._leave()
        self._stage = None
        for stage, spent in self.seconds.items():
            STAGE_SECONDS.labels(stage.value).observe(spent)

    def _leave(self) -> None:
        now = time.monotonic()
        if self._stage is not None:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._since = now


def serve(port: int) -> None:
    """Shows this process's metrics on a port, unless it is 0. One that is taken is no reason to do
    no work.
    """
    if not port:
        return
    try:
        prometheus_client.start_http_server(port)
    except OSError as error:
        log.error("metrics.hidden", port=port, error=str(error))  # noqa: TRY400  (it says all)
