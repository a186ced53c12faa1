"""The rows' rules, on SQLite and on PostgreSQL."""

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.contract.creation import Draft
from app.contract.job import DuplicateKey, JobNotFound, MoveRefused, Output, Stage, Status
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


def test_a_created_job_is_queued_with_its_spec(store, spec):
    job, created = store.create(
        Draft(spec=spec, model_name="sora-2", extra={"seconds": "4"}), owner="key_1"
    )
    assert created
    assert job == store.get(job.id, "key_1")
    assert (Status.QUEUED, Stage.QUEUED, 0, spec) == (job.status, job.stage, job.attempt, job.spec)
    assert (job.model_name, job.extra) == ("sora-2", {"seconds": "4"})


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


def test_a_released_job_counts_no_loss(store, spec):
    job = claimed(store, spec)
    released = store.release(job.id, 1)
    assert (released.status, released.losses, released.progress) == (Status.QUEUED, 0, 0.0)


def test_a_restarted_worker_gives_back_what_it_had(store, spec):
    job = claimed(store, spec)
    assert not store.upkeep.lose_of_worker("worker-2", LOSSES).requeued
    assert {job.id: "tiny"} == store.upkeep.lose_of_worker("worker-1", LOSSES).requeued


def test_an_idempotency_key_gives_the_first_job_again(store, spec):
    first, _ = store.create(spec, owner="a", idempotency_key="k", body_hash="1")
    again, created = store.create(spec, owner="a", idempotency_key="k", body_hash="1")
    assert (first.id, False) == (again.id, created)
    other, created = store.create(spec, owner="b", idempotency_key="k", body_hash="2")
    assert created and other.id != first.id
    with pytest.raises(DuplicateKey, match="'k'"):
        store.create(spec, owner="a", idempotency_key="k", body_hash="2")
    assert store.waiting() == 2


def test_simultaneous_creates_with_one_key_make_one_job(store, spec):
    ids = []

    def create():
        ids.append(store.create(spec, idempotency_key="k", body_hash="1")[0].id)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6 and 1 == len(set(ids)) == store.waiting()


def test_a_recent_job_is_found_by_its_body(store, spec):
    job = store.create(spec, owner="a", body_hash="1")[0]
    assert job.id == store.recent("a", "1", 60).id
    assert store.recent("a", "2", 60) is None
    assert store.recent("b", "1", 60) is None
    assert store.recent("a", "1", -1) is None


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_give_every_job_once_in_order(store, spec, newest_first):
    created = [store.create(spec)[0].id for _ in range(7)]
    seen, after, more = [], None, True
    while more:
        page = store.list(after=after, limit=3, newest_first=newest_first)
        seen += [job.id for job in page.jobs]
        after, more = seen[-1], page.has_more
    assert (created[::-1] if newest_first else created) == seen


def test_a_job_made_between_two_pages_moves_no_other(store, spec):
    created = [store.create(spec)[0].id for _ in range(4)]
    first = store.list(limit=2)
    store.create(spec)
    second = store.list(limit=2, after=first.jobs[-1].id)
    assert created[::-1] == [job.id for job in (*first.jobs, *second.jobs)]


def test_owners_do_not_see_each_others_jobs(store, spec):
    job = store.create(spec, owner="a")[0]
    for look in (store.get, store.cancel, store.delete):
        with pytest.raises(JobNotFound):
            look(job.id, "b")
    assert store.list(owner="b").jobs == []
    with pytest.raises(JobNotFound):
        store.list("b", after=job.id)
    assert [job.id] == [j.id for j in store.list("a").jobs]


def test_a_deleted_job_is_gone_at_once_and_removed_when_no_worker_has_it(store, spec):
    job = claimed(store, spec)
    store.delete(job.id)
    with pytest.raises(JobNotFound):
        store.get(job.id)
    assert store.list().jobs == []
    assert store.upkeep.deleted() == []
    assert store.beat(job.id, 1, 60, Stage.DENOISE, 0.5) is True
    store.fail(job.id, 1, "cancelled", "")
    assert [job.id] == store.upkeep.deleted()
    store.upkeep.purge(job.id)
    with store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one() == 0


def test_deleting_a_queued_job_cancels_it(store, spec):
    job = store.create(spec, idempotency_key="k")[0]
    store.delete(job.id)
    assert store.claim("tiny", "w", 60) is None
    store.upkeep.purge(job.id)
    assert store.create(spec, idempotency_key="k")[1]


def test_an_expired_output_is_forgotten_but_the_job_is_not(store, spec):
    job = claimed(store, spec)
    store.complete(job.id, 1, OUTPUT, expire_s=-1)
    kept = claimed(store, spec)
    store.complete(kept.id, 1, OUTPUT)
    assert [job.id] == store.upkeep.expired()
    store.upkeep.forget_output(job.id)
    assert store.upkeep.expired() == []
    assert store.get(job.id).output_key is None
    assert store.get(kept.id).output_key == OUTPUT.key


def test_counts_tell_jobs_by_model_and_status(store, spec):
    store.create(spec, owner="a")
    claimed(store, replace(spec, model="tiny"))
    assert store.counts() == {("tiny", Status.QUEUED): 1, ("tiny", Status.IN_PROGRESS): 1}
    assert store.upkeep.waiting_by_model(0) == {"tiny": 1}
    assert store.upkeep.waiting_by_model(60) == {}
    assert (store.waiting(), store.waiting("b")) == (1, 0)


def test_missing_jobs_are_not_found(store):
    for look in (store.get, store.cancel, store.delete):
        with pytest.raises(JobNotFound, match="nothing"):
            look("nothing")
    with pytest.raises(MoveRefused, match="gone"):
        store.fail("nothing", 1, "server_error", "")


def test_the_jobs_of_one_request_are_stored_together_or_not_at_all(store, spec):
    drafts = [Draft(spec=replace(spec, seed=seed)) for seed in range(3)]
    jobs, created = store.create_all(drafts, owner="a", idempotency_key="k", body_hash="1")
    assert (created, [job.spec.seed for job in jobs]) == (True, [0, 1, 2])
    again, created = store.create_all(drafts, owner="a", idempotency_key="k", body_hash="1")
    assert (again, created) == (jobs[:1], False)

    drafts = [Draft(spec=spec), Draft(spec=spec, id=jobs[0].id)]
    with pytest.raises(IntegrityError):
        store.create_all(drafts, owner="b")
    assert store.list(owner="b").jobs == []
