"""Small pictures of running jobs, for those who watch. They live in Redis, for a minute."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

KEEP_S = 60
TIMEOUT_S = 2


@dataclass(frozen=True, slots=True)
class Preview:
    """A WebP picture of what a clip looks like so far; a later one has a higher version."""

    version: int
    picture: bytes


class Previews:
    """Nobody depends on them: when Redis is away, nothing is written and nothing found."""

    def __init__(self, redis_url: str) -> None:
        client: Any = redis.Redis
        self._redis: Any = client.from_url(
            redis_url, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S
        )

    def put(self, job_id: str, preview: Preview) -> None:
        """Replaces the picture of a job."""
        try:
            with self._redis.pipeline() as both:
                both.hset(_key(job_id), mapping={"version": preview.version, "": preview.picture})
                both.expire(_key(job_id), KEEP_S)
                both.execute()
        except redis.RedisError:
            return

    def get(self, job_id: str) -> Preview | None:
        """The newest picture of a job, if there is one."""
        return self.get_all([job_id]).get(job_id)

    def get_all(self, job_ids: Sequence[str]) -> dict[str, Preview]:
        """The newest pictures of those of the jobs that have one, asked for together."""
        try:
            with self._redis.pipeline(transaction=False) as all_:
                for job_id in job_ids:
                    all_.hmget(_key(job_id), "version", "")
                found = zip(job_ids, all_.execute(), strict=True)
        except redis.RedisError:
            return {}
        return {job_id: Preview(int(v), picture) for job_id, (v, picture) in found if v is not None}

    def drop(self, job_id: str) -> None:
        """Removes the picture of a job that has ended."""
        try:
            self._redis.delete(_key(job_id))
        except redis.RedisError:
            return

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()


def _key(job_id: str) -> str:
    return f"kinora:preview:{job_id}"
