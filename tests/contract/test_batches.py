"""Batches and files as rows, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from app.contract.batches import BatchEnded, BatchNotFound, BatchStatus
from app.contract.files import FileNotFound
from app.contract.job import DuplicateKey, Output
from app.contract.pages import CursorNotFound
from app.contract.tables import batches, files


def create(store, owner="a", **changes):
    given = {
        "key_id": "",
        "endpoint": "/v1/videos",
        "input_file_id": "file-1",
        "labels": {"k": "v"},
        "output_expire_s": None,
    }
    return store.batches.create(owner=owner, **(given | changes))


def keep(store, file_id, owner="a", **given):
    given = {"key": None, "purpose": "vision", "filename": "x.png", "size_bytes": 3} | given
    return store.files.create(file_id=file_id, owner=owner, **given)


def test_a_batch_is_worked_on_by_one_process_at_a_time(store):
    batch = create(store)
    assert batch.id == store.batches.take(60).id
    assert store.batches.take(60) is None
    assert batch.id == store.batches.hold(batch.id, 0).id
    other = create(store)
    assert {batch.id, other.id} == {store.batches.take(60).id for _ in range(2)}


def test_a_batch_that_a_clock_put_back_left_held_is_worked_on(store):
    batch = create(store)
    store.batches.hold(batch.id, 3600)
    assert batch.id == store.batches.take(60).id
    store.batches.hold(batch.id, 500)  # as long as a lease may be
    assert store.batches.take(60) is None


def test_a_batch_that_is_asked_for_again_is_the_first_one(store):
    first = create(store)
    assert first.id == create(store, within_s=60).id
    others = create(store, owner="b", within_s=60), create(store, labels={}, within_s=60)
    assert first.id not in {create(store).id, *(other.id for other in others)}


def test_a_batch_of_a_key_is_made_once(store):
    first = create(store, idempotency_key="k")
    assert first.id == create(store, idempotency_key="k").id
    with pytest.raises(DuplicateKey):
        create(store, idempotency_key="k", input_file_id="file-2")
    others = create(store, idempotency_key="l"), create(store, idempotency_key="k", owner="b")
    assert first.id not in {create(store).id, *(other.id for other in others)}


def test_of_two_processes_with_one_key_both_have_the_batch_of_the_faster_one(store):
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda _: create(store, idempotency_key="k").id, range(8))
    assert len(set(made)) == 1


def test_lines_become_jobs_or_are_refused_and_are_counted(store, spec):
    batch = create(store)
    store.batches.begin(batch.id, {1: "a", 2: "b", 4: "c", 5: "d", 6: "e"})
    lines = store.batches.lines
    assert [1, 2] == lines.waiting(batch.id, 2)
    made = [store.create(spec, batch_id=batch.id)[0] for _ in range(3)]
    for number, job in zip((1, 2, 4), made, strict=True):
        lines.became(batch.id, number, job.id)
    lines.refused(batch.id, 5, 400, {"error": {"code": "invalid_value"}})
    done = store.claim("tiny", "w", 60)
    store.complete(done.id, 1, Output(key="k", size_bytes=1))
    store.delete(made[2].id)
    assert [made[1].id] == lines.unfinished(batch.id)
    lines.refuse_waiting(batch.id, 400, {"error": {"code": "batch_cancelled"}})
    counts = lines.counts(batch.id)
    assert (1, 3) == (counts.completed, counts.failed)
    one, two, three, four, five = lines.list(batch.id)
    assert ("completed", "queued", None) == (one.job.status, two.job.status, three.job)
    assert (400, {"error": {"code": "invalid_value"}}) == (four.status_code, four.error)
    assert (6, "e", "batch_cancelled") == (five.number, five.custom_id, five.error["error"]["code"])


def test_a_line_that_was_refused_becomes_no_job(store, spec):
    batch = create(store)
    store.batches.begin(batch.id, {1: "a", 2: "b"})
    lines, job = store.batches.lines, store.create(spec, batch_id=batch.id)[0]
    assert [job.id] == lines.unfinished(batch.id)  # though no line names it yet
    assert lines.became(batch.id, 1, job.id)
    assert lines.became(batch.id, 1, job.id)  # by two processes at once
    lines.refuse_waiting(batch.id, 400, {"error": {"code": "batch_cancelled"}})
    assert not lines.became(batch.id, 2, job.id)
    assert [job.id, None] == [line.job_id for line in lines.list(batch.id)]


def test_a_batch_moves_only_along_its_states_and_tells_of_its_end(store):
    store.webhooks.create("a", "mine", "https://a.example/", ["batch.completed", "batch.failed"])
    batch, bad = create(store), create(store)
    store.batches.finish(batch.id, BatchStatus.COMPLETED, None, None)
    assert BatchStatus.VALIDATING is store.batches.get(batch.id).status
    store.batches.begin(batch.id, {1: "a"})
    store.batches.refuse(batch.id, [])
    store.batches.finalize(batch.id)
    store.batches.finish(batch.id, BatchStatus.COMPLETED, "file-2", None)
    with pytest.raises(BatchEnded, match="completed"):
        store.batches.cancel(batch.id)
    assert "file-2" == store.batches.get(batch.id, "a").output_file_id
    store.batches.refuse(bad.id, [{"code": "empty_file"}])
    assert [{"code": "empty_file"}] == store.batches.get(bad.id).errors
    told, _ = store.webhooks.outbox.list("a")
    assert {"batch.completed", "batch.failed"} == {row["type"] for row in told}


def test_a_cancelled_batch_is_looked_at_at_once(store):
    batch = create(store)
    store.batches.take(60)
    assert BatchStatus.CANCELLING is store.batches.cancel(batch.id, "a").status
    assert batch.id == store.batches.take(60).id


def test_a_batchs_window_closes(store):
    batch = create(store)
    assert not store.batches.overdue(batch.id)
    with store.database.write() as connection:
        connection.execute(sa.update(batches).values(expires_at=1))
    assert store.batches.overdue(batch.id)


def test_batches_are_their_owners_only(store):
    mine = [create(store).id for _ in range(3)]
    create(store, "b")
    page, more = store.batches.list("a", limit=2)
    rest, last = store.batches.list("a", limit=2, after=page[-1].id)
    assert (mine[::-1], True, False) == ([b.id for b in (*page, *rest)], more, last)
    for look in (store.batches.get, store.batches.cancel):
        with pytest.raises(BatchNotFound):
            look(mine[0], "b")
    with pytest.raises(CursorNotFound):
        store.batches.list("b", after=mine[0])
    with pytest.raises(BatchNotFound):
        store.batches.get("\0")


def test_files_are_their_owners_only_and_end(store):
    kept = keep(store, "file-1", expire_s=3600)
    keep(store, "file-2", owner="b", purpose="batch")
    assert kept == store.files.get("file-1", "a")
    assert [kept] == store.files.list("a", purpose="vision")[0] == store.files.list("a")[0]
    assert {"file-1"} == store.files.known({"file-1", "file-0"})
    for look in (store.files.get, store.files.delete):
        with pytest.raises(FileNotFound):
            look("file-1", "b")
    with pytest.raises(FileNotFound):
        store.files.get("\0")
    store.files.delete("file-2", "b")
    with store.database.write() as connection:
        connection.execute(sa.update(files).where(files.c.id == "file-1").values(expires_at=1))
    assert [] == store.files.list()[0]
    assert ["file-1", "file-2"] == sorted(store.files.over())
    store.files.purge("file-1")
    assert ["file-2"] == store.files.over()
