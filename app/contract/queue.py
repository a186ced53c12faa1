"""The Celery queue on Redis. A message only wakes a worker of its model: the row is the truth."""

from collections.abc import Iterable
from typing import Any

import redis
import structlog
from celery import Celery  # pyright: ignore[reportMissingTypeStubs]
from kombu.exceptions import OperationalError

TASK = "render"
CONNECT_TIMEOUT_S = 2

log = structlog.get_logger()


def queue_name(model_id: str) -> str:
    """The Celery queue that the workers of a model listen to."""
    return f"render.{model_id}"


def celery_app(redis_url: str, silence_s: float = 30.0) -> Any:
    """Celery as Kinora uses it; Redis may say nothing for `silence_s` seconds.

    Messages are acknowledged when they are received, since the lease in the row brings a job back
    when its worker dies; Celery's redelivery would run long jobs twice.
    """
    broker = redis_url.replace("unix://", "redis+socket://", 1)
    # Celery would take any certificate. The URL may say otherwise: ?ssl_ca_certs=FILE
    tls = {"ssl_cert_reqs": "required"} if redis_url.startswith("rediss://") else False
    app: Any = Celery("kinora", broker=broker, set_as_current=False)
    app.conf.update(
        task_acks_late=False,
        task_ignore_result=True,
        task_default_queue="render",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_proc_alive_timeout=1800,
        worker_send_task_events=False,
        worker_enable_remote_control=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_use_ssl=tls,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 86400,
            "socket_timeout": silence_s,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # a message that cannot be sent now is the courier's, so a sender does not wait for long
            "max_retries": 1,
            "interval_start": 0.1,
            "interval_step": 0,
        },
    )
    return app


class Queue:
    """The sending side: wakes workers and counts waiting messages. Safe between threads."""

    def __init__(self, redis_url: str) -> None:
        # Whoever asks for a video waits for it, also for one that takes all and answers nothing.
        self._celery = celery_app(redis_url, CONNECT_TIMEOUT_S)
        client: Any = redis.Redis
        self._redis = client.from_url(
            redis_url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S
        )

    def wake(self, model_id: str, job_ids: Iterable[str]) -> bool:
        """Sends one message for each queued job of the model; call it after the rows are committed.

        An unreachable Redis is no error for the jobs, as the courier announces them again: then
        this returns False.
        """
        try:
            for job_id in job_ids:
                self._celery.send_task(TASK, (job_id,), queue=queue_name(model_id), retry=False)
        except (OperationalError, redis.RedisError) as error:
            log.warning("queue.unreachable", error=str(error))
            return False
        return True

    def depth(self, model_id: str) -> int:
        """Messages that wait for a worker of the model. Raises redis.RedisError."""
        return int(self._redis.llen(queue_name(model_id)))

    def check(self) -> None:
        """Raises redis.RedisError when Redis does not answer."""
        self._redis.ping()

    def close(self) -> None:
        """Closes the connections."""
        self._celery.close()
        self._redis.close()
