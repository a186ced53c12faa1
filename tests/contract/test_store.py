"""Lists, owners, deletion and expiry, on SQLite and on PostgreSQL."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from app.contract.job import JobNotFound, MoveRefused, Output, Stage, Status
from app.contract.tables import jobs

OUTPUT = Output(key="videos/x/1/video.mp4", size_bytes=3, thumbnail_key="videos/x/1/t.webp")


def claimed(store, spec, lease_s=60.0):
    store.create(spec)
    return store.claim("tiny", "worker-1", lease_s)


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
