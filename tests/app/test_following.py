"""The poller that all event streams share."""

import asyncio

import pytest
import sqlalchemy as sa

from app.contract.previews import Preview, Previews
from app.contract.store import Store
from app.following import Following, Seen


@pytest.fixture
def store(settings):
    store = Store.open(settings.database_url)
    yield store
    store.close()


@pytest.fixture
def previews(settings):
    previews = Previews(settings.redis_url)
    yield previews
    previews.close()


@pytest.fixture
def statements(store):
    """The statements that the store has sent to the database."""
    sent = []

    def note(_connection, _cursor, statement, *_rest):
        sent.append(statement)

    sa.event.listen(store.database.engine, "before_cursor_execute", note)
    return sent


def follow_all(store, previews, job_ids, act):
    """Follows the jobs until their ends; `act` is called when everybody has seen the first news.
    Returns what each was told."""

    async def follow(following, job_id, first):
        told = []
        async for seen in following.changes(job_id, 60):
            told.append(seen)
            first.set()
        return told

    async def run():
        following = Following(store, previews)
        following.start(lambda: False)
        firsts = [asyncio.Event() for _ in job_ids]
        pairs = zip(job_ids, firsts, strict=True)
        tasks = [asyncio.create_task(follow(following, *pair)) for pair in pairs]
        await asyncio.gather(*(first.wait() for first in firsts))
        await asyncio.to_thread(act)
        told = await asyncio.gather(*tasks)
        await following.stop()
        return told

    return asyncio.run(run())


def test_five_hundred_who_follow_one_job_ask_the_database_as_often_as_one(
    store, previews, spec, statements
):
    job, _ = store.create(spec)
    statements.clear()

    told = follow_all(store, previews, [job.id] * 500, lambda: store.cancel(job.id))

    assert all(seen[-1].job.status == "failed" for seen in told)
    assert len(statements) < 100


def test_many_jobs_are_read_with_one_statement(store, previews, spec, statements):
    ids = [store.create(spec)[0].id for _ in range(40)]

    def cancel():
        for job_id in ids:
            store.cancel(job_id)

    told = follow_all(store, previews, ids, cancel)

    assert [seen[-1].job.id for seen in told] == ids
    together = [text for text in statements if "jobs.id IN (?, ?" in text]
    alone = [text for text in statements if "jobs.id = ?" in text and "SELECT jobs.id" in text]
    assert 0 < len(together) < 50
    assert len(alone) <= len(ids)  # each was read once to be cancelled


def test_a_machine_with_no_thread_to_spare_ends_no_stream(store, previews, spec, monkeypatch):
    to_thread, failed = asyncio.to_thread, []

    async def to_thread_later(*given):
        if not failed:
            failed.append(given)
            raise RuntimeError("can't start new thread")
        return await to_thread(*given)

    monkeypatch.setattr(asyncio, "to_thread", to_thread_later)
    job, _ = store.create(spec)
    ((*_, last),) = follow_all(store, previews, [job.id], lambda: store.cancel(job.id))
    assert failed and last.job.status == "failed"


def test_a_picture_alone_is_a_change(store, previews, spec):
    job, _ = store.create(spec)
    claimed = store.claim(spec.model, "worker-1", 60)
    store.beat(job.id, claimed.attempt, 60, "decode", 0.9)

    def act():
        previews.put(job.id, Preview(7, b"picture"))

    async def run():
        following = Following(store, previews)
        following.start(lambda: False)
        pictures = []
        async for seen in following.changes(job.id, 60):
            pictures.append(seen.picture)
            if seen.picture:
                break
            await asyncio.to_thread(act)
        await following.stop()
        return pictures

    assert asyncio.run(run()) == [0, 7]


@pytest.mark.parametrize("steps", range(6))
def test_a_watcher_that_is_cancelled_while_news_arrive_ends(store, previews, spec, steps):
    """Python 3.11's `wait_for` drops a cancellation that comes as what it waits for is there."""
    job = store.create(spec)[0]

    async def follow(following):
        async for _ in following.changes(job.id, 60):
            pass

    async def run():
        following = Following(store, previews)
        watching = asyncio.create_task(follow(following))
        for _ in range(20):
            await asyncio.sleep(0)
        following._tell({job.id: Seen(job)})
        for _ in range(steps):
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait({watching}, timeout=5)
        ended = watching.done()
        watching.cancel()
        return ended

    assert asyncio.run(run())
