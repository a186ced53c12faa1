"""How a job's status changes: claims, leases and fences, on SQLite and on PostgreSQL."""

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from app.contract.creation import Draft
from app.contract.job import MoveRefused, Output, Stage, Status
from app.contract.tables import jobs

OUTPUT = Output(key="videos/x/1/video.mp4", size_bytes=3, thumbnail_key="videos/x/1/t.webp")
LOSSES = 3


def claimed(store, spec, lease_s=60.0):
    store.create(spec)
    return store.claim("tiny", "worker-1", lease_s)


def in_state(store, spec, state):
    """A job that was brought into this state by real moves."""
    if state == "queued":
        return store.create(spec)[0]
    job = claimed(store, spec)
    if state == "completed":
        return store.complete(job.id, 1, OUTPUT)
    if state == "failed":
        return store.fail(job.id, 1, "server_error", "It broke.")
    if state == "cancelling":
        return store.cancel(job.id)
    return job


MOVES = {
    "beat": lambda store, job, attempt: store.beat(job.id, attempt, 60, Stage.DENOISE, 0.5),
    "complete": lambda store, job, attempt: store.complete(job.id, attempt, OUTPUT),
    "fail": lambda store, job, attempt: store.fail(job.id, attempt, "server_error", "It broke."),
    "release": lambda store, job, attempt: store.release(job.id, attempt),
    "cancel": lambda store, job, attempt: store.cancel(job.id),
}
LEGAL = {
    ("queued", "cancel"),
    ("in_progress", "beat"),
    ("in_progress", "complete"),
    ("in_progress", "fail"),
    ("in_progress", "release"),
    ("in_progress", "cancel"),
    ("cancelling", "beat"),
    ("cancelling", "fail"),
    ("cancelling", "cancel"),
}
STATES = ("queued", "in_progress", "cancelling", "completed", "failed")
ILLEGAL = [(s, m) for s in STATES for m in MOVES if (s, m) not in LEGAL]


@pytest.mark.parametrize(("state", "move"), ILLEGAL)
def test_an_illegal_move_raises_and_changes_nothing(store, spec, state, move):
    job = in_state(store, spec, state)
    before = store.get(job.id)
    with pytest.raises(MoveRefused, match=job.id):
        MOVES[move](store, job, before.attempt)
    assert before == store.get(job.id)


@pytest.mark.parametrize(("state", "move"), sorted(LEGAL))
def test_a_legal_move_succeeds(store, spec, state, move):
    job = in_state(store, spec, state)
    MOVES[move](store, job, job.attempt)


@pytest.mark.parametrize("move", ["beat", "complete", "fail", "release"])
def test_a_worker_whose_lease_was_lost_can_change_nothing(store, spec, move):
    job = claimed(store, spec, lease_s=-1)
    store.upkeep.lose_expired(LOSSES)
    successor = store.claim("tiny", "worker-2", 60)
    before = store.get(job.id)
    assert (job.id, 2, "worker-2") == (successor.id, successor.attempt, successor.worker)
    with pytest.raises(MoveRefused, match="attempt 2"):
        MOVES[move](store, job, job.attempt)
    assert before == store.get(job.id)


def test_jobs_are_claimed_by_priority_then_age(store, spec):
    first = store.create(spec)[0]
    second = store.create(spec)[0]
    urgent = store.create(Draft(spec=spec, priority=5))[0]
    store.create(replace(spec, model="other"))
    assert [store.queue_position(job) for job in (first, second, urgent)] == [1, 2, 0]
    order = [store.claim("tiny", "w", 60).id for _ in range(3)]
    assert [urgent.id, first.id, second.id] == order
    assert store.claim("tiny", "w", 60) is None


def test_a_job_is_claimed_once_however_many_workers_ask(store, spec):
    ids = {store.create(spec)[0].id for _ in range(10)}
    taken = []

    def work(name):
        while job := store.claim("tiny", name, 60):
            taken.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == sorted(taken)


def test_a_beat_extends_the_lease_and_records_progress(store, spec):
    job = claimed(store, spec, lease_s=1)
    assert store.beat(job.id, 1, 60, Stage.DECODE, 0.25) is False
    now = store.get(job.id)
    assert now.lease_until > job.lease_until + 50
    assert (now.stage, now.progress, now.percent) == (Stage.DECODE, 0.25, 25)


def test_a_running_job_learns_of_its_cancelling_and_cannot_complete(store, spec):
    job = claimed(store, spec)
    assert store.cancel(job.id).status is Status.IN_PROGRESS
    assert store.beat(job.id, 1, 60, Stage.DENOISE, 0.5) is True
    with pytest.raises(MoveRefused, match="cancelling"):
        store.complete(job.id, 1, OUTPUT)


def test_a_cancelled_job_is_never_claimed(store, spec):
    job = store.create(spec)[0]
    cancelled = store.cancel(job.id)
    assert (cancelled.status, cancelled.error_code) == (Status.FAILED, "cancelled")
    assert store.claim("tiny", "w", 60) is None


def test_a_completed_job_carries_its_output_and_its_end(store, spec):
    job = claimed(store, spec)
    done = store.complete(job.id, 1, OUTPUT, expire_s=3600)
    assert (done.status, done.percent) == (Status.COMPLETED, 100)
    assert (OUTPUT.key, 3, OUTPUT.thumbnail_key) == (
        done.output_key,
        done.output_bytes,
        done.thumbnail_key,
    )
    assert done.worker is None and done.lease_until is None
    assert done.expires_at == pytest.approx(done.finished_at + 3600, abs=1)


def test_an_expired_lease_puts_the_job_back_in_its_place(store, spec):
    job = claimed(store, spec, lease_s=-1)
    store.create(spec)
    assert {job.id: "tiny"} == store.upkeep.lose_expired(LOSSES).requeued
    again = store.claim("tiny", "worker-2", 60)
    assert (job.id, 2, 1) == (again.id, again.attempt, again.losses)


def test_a_held_lease_is_left_alone(store, spec):
    job = claimed(store, spec)
    assert not store.upkeep.lose_expired(LOSSES).requeued
    assert Status.IN_PROGRESS is store.get(job.id).status


def test_a_job_that_loses_too_many_workers_fails(store, spec):
    job = claimed(store, spec, lease_s=-1)
    for _ in range(LOSSES - 1):
        store.upkeep.lose_expired(LOSSES)
        assert store.claim("tiny", "w", -1).id == job.id
    assert {job.id: "tiny"} == store.upkeep.lose_expired(LOSSES).failed
    failed = store.get(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, "worker_lost")


def test_a_lost_job_that_was_being_cancelled_ends_cancelled(store, spec):
    job = claimed(store, spec, lease_s=-1)
    store.cancel(job.id)
    assert {job.id: "tiny"} == store.upkeep.lose_expired(LOSSES).cancelled
    assert store.get(job.id).error_code == "cancelled"


def test_a_cancel_while_lost_jobs_are_being_moved_is_not_queued_again(store, spec):
    job = claimed(store, spec, lease_s=-1)

    def cancelled_in_between(connection, _cursor, _statement, parameters, *_context):
        if "cancelled" in str(parameters):  # the first UPDATE, for those that are cancelled
            connection.exec_driver_sql("UPDATE jobs SET cancel_requested = true")

    sa.event.listen(store.database.engine, "after_cursor_execute", cancelled_in_between)
    store.upkeep.lose_expired(LOSSES)
    sa.event.remove(store.database.engine, "after_cursor_execute", cancelled_in_between)
    assert Status.IN_PROGRESS is store.get(job.id).status
    assert {job.id: "tiny"} == store.upkeep.lose_expired(LOSSES).cancelled


def test_a_job_of_a_newer_version_fails_and_holds_up_no_other(store, spec):
    store.webhooks.create("", "mine", "https://a.example/", ["video.failed"])
    newer, job = store.create(spec)[0], store.create(spec)[0]
    with store.database.write() as connection:
        change = sa.update(jobs).where(jobs.c.id == newer.id)
        connection.execute(change.values(spec='{"version": 2}'))
    assert job.id == store.claim("tiny", "worker-1", 60).id
    with store.database.read() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == newer.id)).one()
    assert (row.status, row.error_code, row.worker) == (Status.FAILED, "invalid_job", None)
    assert [newer.id] == [row["subject"] for row in store.webhooks.outbox.list("")[0]]


def test_a_released_job_counts_no_loss(store, spec):
    job = claimed(store, spec)
    released = store.release(job.id, 1)
    assert (released.status, released.losses, released.progress) == (Status.QUEUED, 0, 0.0)


def test_a_restarted_worker_gives_back_what_it_had(store, spec):
    job = claimed(store, spec)
    assert not store.upkeep.lose_of_worker("worker-2", LOSSES).requeued
    assert {job.id: "tiny"} == store.upkeep.lose_of_worker("worker-1", LOSSES).requeued
