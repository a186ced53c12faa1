"""What is stored of a request, and what of one that comes twice."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from app.contract.creation import Draft
from app.contract.job import DuplicateKey, Stage, Status


def test_a_created_job_is_queued_with_its_spec(store, spec):
    job, created = store.create(
        Draft(spec=spec, model_name="sora-2", extra={"seconds": "4"}), owner="key_1"
    )
    assert created
    assert job == store.get(job.id, "key_1")
    assert (Status.QUEUED, Stage.QUEUED, 0, spec) == (job.status, job.stage, job.attempt, job.spec)
    assert (job.model_name, job.extra) == ("sora-2", {"seconds": "4"})


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


def test_retries_of_one_request_make_one_job_and_so_does_what_they_repeat(store, spec):
    ids = []

    def create(*, is_retry=True, within_s=60):
        given = {"owner": "a", "body_hash": "1", "is_retry": is_retry, "within_s": within_s}
        ids.append(store.create(spec, **given)[0].id)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    create(is_retry=False)
    assert len(ids) == 7 and 1 == len(set(ids)) == store.waiting()
    create(is_retry=False, within_s=-1)  # sent when the retry had its answer
    create(is_retry=False, within_s=60)
    assert ids[-1] == ids[0] != ids[-2]


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
