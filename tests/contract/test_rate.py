"""Requests a minute, counted in a real Redis."""

import secrets
import threading

import pytest

from app.contract.rate import Rate


@pytest.fixture
def rate(redis_url):
    rate = Rate(redis_url)
    yield rate
    rate.close()


@pytest.fixture
def key_id():
    return f"key_{secrets.token_hex(8)}"


def test_requests_beyond_the_limit_are_told_how_long_to_wait(rate, key_id):
    assert [0, 0, 0] == [rate.take(key_id, 3) for _ in range(3)]
    assert 50 < rate.take(key_id, 3) <= 60
    assert 0 == rate.take(f"{key_id}x", 3)


def test_a_minute_later_there_is_room_again(rate, key_id):
    for _ in range(2):
        rate.take(key_id, 2)
    name = f"kinora:rpm:{key_id}"
    for member, moment in rate._redis.zrange(name, 0, 0, withscores=True):
        rate._redis.zadd(name, {member: moment - 60_001})
    assert 0 == rate.take(key_id, 2)
    assert 0 < rate.take(key_id, 2)


def test_processes_share_one_count(redis_url, key_id):
    waits = []

    def ask():
        rate = Rate(redis_url)
        waits.extend(rate.take(key_id, 10) for _ in range(5))
        rate.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 10 == waits.count(0)


def test_without_redis_nothing_is_refused(tmp_path):
    rate = Rate(f"unix://{tmp_path}/none.sock")
    assert [0, 0] == [rate.take("key_1", 1) for _ in range(2)]
    rate.close()
