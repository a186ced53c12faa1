"""Limits of keys and of the queue, on SQLite and on PostgreSQL."""

import threading

import pytest
import sqlalchemy as sa

from app.contract.database import now
from app.contract.job import Output
from app.contract.keys import KeyLimits
from app.contract.limits import LimitReached
from app.contract.tables import usage


def key_with(store, **limits):
    return store.keys.create("me", limits=KeyLimits(**limits))[0]


def create(store, spec, key, **given):
    return store.create(spec, owner=key.tenant, key=key, **given)[0]


def refused(store, spec, key, **given):
    with pytest.raises(LimitReached) as reached:
        create(store, spec, key, **given)
    return reached.value


def finish(store, spec, size_bytes=10):
    job = store.claim(spec.model, "worker-1", 60)
    return store.complete(job.id, job.attempt, Output(key=f"k/{job.id}", size_bytes=size_bytes))


def test_jobs_in_flight_are_limited_until_one_ends(store, spec):
    key, other = key_with(store, jobs=2), key_with(store)
    create(store, spec, key)
    create(store, spec, key)
    for _ in range(2):
        error = refused(store, spec, key)
        assert ("too_many_jobs", 30) == (error.code, error.retry_after_s)
        with pytest.raises(LimitReached):
            store.limits.check(key, None)
        store.claim(spec.model, "worker-1", 60)
    create(store, spec, other)
    store.cancel(create(store, spec, other).id)
    running = store.list(key.tenant).jobs[0]
    store.fail(running.id, 1, "server_error", "")
    create(store, spec, key)


def test_waiting_jobs_are_limited_until_one_is_taken(store, spec):
    key = key_with(store, queued=1)
    create(store, spec, key)
    assert "too_many_queued" == refused(store, spec, key).code
    store.claim(spec.model, "worker-1", 60)
    create(store, spec, key)


def test_the_whole_queue_is_limited_also_for_those_without_a_key(store, spec):
    store.create(spec, max_queued=1)
    with pytest.raises(LimitReached, match="1 jobs are waiting") as reached:
        store.create(spec, max_queued=1)
    assert ("queue_full", 30) == (reached.value.code, reached.value.retry_after_s)


def test_a_batchs_jobs_do_not_fill_the_queue(store, spec):
    key = key_with(store, jobs=1, queued=1)
    for _ in range(3):
        create(store, spec, key, batch_id="batch_1", max_queued=1)
    create(store, spec, key, max_queued=1)


def test_seconds_of_video_are_limited_in_any_24_hours(store, spec):
    seconds = spec.frames / spec.fps
    key = key_with(store, seconds_day=2.5 * seconds)
    create(store, spec, key)
    store.delete(create(store, spec, key).id)
    error = refused(store, spec, key)
    assert "daily_seconds_reached" == error.code
    assert 23 * 3600 <= error.retry_after_s <= 24 * 3600
    with store.database.write() as connection:
        connection.execute(sa.update(usage).values(hour=usage.c.hour - 24))
    create(store, spec, key)
    store.limits.forget()
    with store.database.read() as connection:
        assert [seconds] == list(connection.execute(sa.select(usage.c.seconds)).scalars())


@pytest.mark.parametrize("used", [0.1, 1.24])
def test_a_video_as_long_as_the_days_limit_has_to_wait_for_all_of_it(store, spec, used):
    key = key_with(store, seconds_day=spec.frames / spec.fps)
    store.limits.check(key, None, spec.frames / spec.fps)
    hour = sa.cast(sa.func.floor(now() / 3600), sa.Integer)
    with store.database.write() as connection:
        connection.execute(sa.insert(usage).values(key_id=key.id, hour=hour, seconds=used))
    error = refused(store, spec, key)
    assert 23 * 3600 <= error.retry_after_s <= 24 * 3600


def test_one_video_above_the_days_limit_is_never_worth_a_retry(store, spec):
    assert refused(store, spec, key_with(store, seconds_day=1)).retry_after_s is None


def test_storage_is_limited_until_something_is_deleted(store, spec):
    key = key_with(store, storage_bytes=10)
    create(store, spec, key)
    job = finish(store, spec)
    error = refused(store, spec, key)
    assert ("storage_full", None) == (error.code, error.retry_after_s)
    store.delete(job.id)
    create(store, spec, key)


def test_a_repeated_request_gets_its_job_also_when_the_limit_is_reached(store, spec):
    key = key_with(store, jobs=1)
    job = create(store, spec, key, idempotency_key="k")
    assert job == create(store, spec, key, idempotency_key="k")


def test_simultaneous_creates_do_not_pass_the_limit_together(store, spec):
    key = key_with(store, jobs=3)
    made, missed = [], []

    def ask():
        try:
            made.append(create(store, spec, key))
        except LimitReached:
            missed.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (3, 5) == (len(made), len(missed))


@pytest.mark.parametrize("name", ["rpm", "jobs", "queued", "seconds_day", "storage_bytes"])
def test_a_limit_of_nothing_is_a_mistake(name):
    with pytest.raises(ValueError, match=name):
        KeyLimits(**{name: 0})
