"""Requests a minute of each key, counted in Redis by its own clock, for all API processes."""

import secrets
from typing import Any

import redis
import structlog

from app.contract.queue import CONNECT_TIMEOUT_S

WINDOW_S = 60

#: The moments of the last minute's requests, in a sorted set for each key. Answers how many
#: milliseconds to wait; 0 counts the request.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if redis.call('ZCARD', KEYS[1]) < limit then
  redis.call('ZADD', KEYS[1], now, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], window)
  return 0
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return math.max(1, first[2] + window - now)
"""

log = structlog.get_logger()


class Rate:
    """Counts requests. Safe between threads."""

    def __init__(self, redis_url: str) -> None:
        client: Any = redis.Redis
        self._redis = client.from_url(
            redis_url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=CONNECT_TIMEOUT_S
        )

    def take(self, key_id: str, per_minute: int) -> float:
        """Counts a request if fewer than `per_minute` were counted in the last 60 seconds; returns
        0, else the seconds until there is room.

        An unreachable Redis counts nothing and refuses nothing: what a key may make is limited by
        the database too, and a service without Redis still answers.
        """
        name = f"kinora:rpm:{key_id}"
        try:
            wait_ms = self._redis.eval(
                TAKE, 1, name, WINDOW_S * 1000, per_minute, secrets.token_hex(8)
            )
        except redis.RedisError as error:
            log.warning("rate.unreachable", error=str(error))
            return 0.0
        return int(wait_ms) / 1000

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()
