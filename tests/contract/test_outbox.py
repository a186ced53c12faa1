"""Events, written with what happened, and their deliveries, on SQLite and on PostgreSQL."""

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from app.contract.creation import Draft
from app.contract.events import PENDING
from app.contract.job import JobNotFound, Output
from app.contract.outbox import BACKOFF_S, DELIVERED, GIVE_UP_S
from app.contract.sending import Answer
from app.contract.tables import deliveries, events
from app.contract.webhooks import EndpointNotFound

OUTPUT = Output(key="videos/x/1/video.mp4", size_bytes=3)
ACCEPTED = Answer(seconds=0.1, status_code=204)
REFUSED = Answer(seconds=0.1, status_code=500)


def claimed(store, spec, owner="", **given):
    store.create(Draft(spec=spec, **given), owner=owner)
    return store.claim(spec.model, "worker-1", 60)


def endpoint(store, *kinds, owner="", url="https://a.example/"):
    return store.webhooks.create(owner, "mine", url, kinds or ("video.completed", "video.failed"))


def types(store, owner=""):
    rows, _ = store.webhooks.outbox.list(owner, limit=100)
    return [(row["type"], row["subject"]) for row in rows][::-1]


def make_due(store, by_s=10 * GIVE_UP_S):
    with store.database.write() as connection:
        connection.execute(sa.update(deliveries).values(next_at=deliveries.c.next_at - by_s))


def take(store, limit=10, per_receiver=2, lease_s=60.0):
    return store.webhooks.outbox.take(limit, per_receiver, lease_s)


def count(store, table):
    with store.database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_each_end_of_a_job_is_told_once(store, spec):
    endpoint(store)
    done, broken = claimed(store, spec), claimed(store, spec)
    store.complete(done.id, 1, OUTPUT)
    store.fail(broken.id, 1, "server_error", "It broke.")
    queued = store.create(spec)[0]
    store.cancel(queued.id)
    lost = claimed(store, spec)
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease_until = 0, losses = 9")
    store.upkeep.lose_expired(3)
    assert [
        ("video.completed", done.id),
        ("video.failed", broken.id),
        ("video.failed", queued.id),
        ("video.failed", lost.id),
    ] == types(store)


def test_a_picture_for_which_somebody_waits_is_not_told_of(store, spec):
    endpoint(store)
    job = claimed(store, replace(spec, output="png"))
    store.complete(job.id, 1, OUTPUT)
    assert types(store) == []


def test_a_move_that_is_refused_tells_nothing(store, spec):
    endpoint(store)
    job = claimed(store, spec)
    for move in (
        lambda: store.complete(job.id, 2, OUTPUT),
        lambda: store.fail("video_none", 1, "server_error", ""),
    ):
        with pytest.raises(Exception, match="cannot be moved"):
            move()
    store.release(job.id, 1)
    assert 0 == count(store, events)


def test_a_deleted_job_is_not_told_of(store, spec):
    endpoint(store)
    store.delete(store.create(spec)[0].id)
    job = claimed(store, spec)
    store.delete(job.id)
    store.fail(job.id, 1, "cancelled", "")
    with pytest.raises(JobNotFound):
        store.get(job.id)
    assert 0 == count(store, events)


def test_only_endpoints_of_the_owner_that_want_the_event_are_told(store, spec):
    wanted = endpoint(store, "video.completed", owner="a")
    endpoint(store, "video.failed", "batch.completed", owner="a")
    endpoint(store, owner="b")
    store.complete(claimed(store, spec, owner="a").id, 1, OUTPUT)
    (delivery,) = take(store)
    assert (wanted.url, (wanted.secret,), 1) == (delivery.url, delivery.secrets, delivery.attempt)
    assert [] == types(store, "b")


def test_a_requests_own_url_is_told_with_the_owners_secret(store, spec):
    job = claimed(store, spec, owner="a", webhook_url="https://b.example/x")
    store.complete(job.id, 1, OUTPUT)
    (delivery,) = take(store)
    secret = store.webhooks.secret_of("a")
    assert ("https://b.example/x", (secret,)) == (delivery.url, delivery.secrets)
    assert secret != store.webhooks.rotate_secret_of("a") != store.webhooks.secret_of("b")


def test_a_url_that_only_some_readers_take_keeps_no_video_from_its_end(store, spec):
    url = "https://a]b.example/x"  # Python's urlsplit raises ValueError for it, httpx does not
    job = claimed(store, spec, webhook_url=url)
    store.complete(job.id, 1, OUTPUT)
    assert [("video.completed", job.id)] == types(store)


def test_without_a_receiver_there_is_no_event(store, spec):
    store.complete(claimed(store, spec).id, 1, OUTPUT)
    assert 0 == count(store, events)


def test_a_taken_delivery_is_nobody_elses_until_its_lease_ends(store, spec):
    endpoint(store)
    store.complete(claimed(store, spec).id, 1, OUTPUT)
    (first,) = take(store, lease_s=60)
    assert [] == take(store)
    with store.database.write() as connection:
        connection.execute(sa.update(deliveries).values(lease_until=0))
    (second,) = take(store)
    assert (first.event_id, 2) == (second.event_id, second.attempt)
    assert store.webhooks.outbox.record(second, ACCEPTED) == DELIVERED
    assert store.webhooks.outbox.record(first, REFUSED) is None  # too late to change anything
    assert "delivered" == store.webhooks.outbox.list("")[0][0]["status"]


def test_a_receiver_has_few_deliveries_at_a_time_and_another_does_not_wait(store, spec):
    slow, quick = endpoint(store), endpoint(store, "video.failed", url="https://b.example/")
    for _ in range(5):
        store.complete(claimed(store, spec).id, 1, OUTPUT)
    assert [slow.url] * 2 == [delivery.url for delivery in take(store)]
    store.fail(claimed(store, spec).id, 1, "server_error", "")
    assert [quick.url] == [delivery.url for delivery in take(store)]


def test_what_failed_comes_back_later_and_later_for_72_hours(store, spec):
    endpoint(store)
    store.complete(claimed(store, spec).id, 1, OUTPUT)
    waits = []
    while due := take(store):
        status = store.webhooks.outbox.record(due[0], REFUSED)
        row = store.webhooks.outbox.list("")[0][0]
        assert status == row["status"]
        if status != PENDING:
            break
        waits.append(round(row["next_at"] - row["attempts"][-1]["at"]))
        assert [] == take(store)
        make_due(store, waits[-1])
        with store.database.write() as connection:  # let that time pass
            connection.execute(
                sa.update(deliveries).values(created_at=row["created_at"] - waits[-1])
            )
    assert waits == sorted(waits) and tuple(waits[: len(BACKOFF_S)]) == BACKOFF_S
    assert GIVE_UP_S - BACKOFF_S[-1] <= sum(waits) <= GIVE_UP_S
    assert ("failed", len(waits) + 1) == (row["status"], len(row["attempts"]))


def test_every_attempt_can_be_looked_at(store, spec):
    endpoint(store)
    job = claimed(store, spec)
    store.complete(job.id, 1, OUTPUT)
    store.webhooks.outbox.record(take(store)[0], Answer(seconds=2.5, error="ReadTimeout: " * 99))
    make_due(store)
    store.webhooks.outbox.record(take(store)[0], ACCEPTED)
    (row,), more = store.webhooks.outbox.list("", subject=job.id)
    assert ("delivered", "video.completed", False) == (row["status"], row["type"], more)
    assert [(1, None), (2, 204)] == [(a["number"], a["status_code"]) for a in row["attempts"]]
    assert 256 == len(row["attempts"][0]["error"])


def test_a_rotated_secret_signs_alone_or_beside_the_old_one(store, spec):
    made = endpoint(store)
    store.complete(claimed(store, spec).id, 1, OUTPUT)
    kept = store.webhooks.rotate(made.id, "", keep_old=True)
    (delivery,) = take(store)
    assert (kept.secret, made.secret) == delivery.secrets
    alone = store.webhooks.rotate(made.id, "", keep_old=False)
    store.webhooks.outbox.record(delivery, REFUSED)
    make_due(store)
    assert (alone.secret,) == take(store)[0].secrets


def test_a_deleted_endpoint_is_told_nothing_more(store, spec):
    made = endpoint(store)
    store.complete(claimed(store, spec).id, 1, OUTPUT)
    (delivery,) = take(store)
    store.webhooks.delete(made.id, "")
    assert store.webhooks.outbox.record(delivery, REFUSED) is None
    assert 0 == count(store, deliveries)
    with pytest.raises(EndpointNotFound):
        store.webhooks.get(made.id, "")


def test_old_events_are_forgotten(store, spec):
    endpoint(store)
    store.complete(claimed(store, spec).id, 1, OUTPUT)
    assert 0 == store.webhooks.outbox.forget(60)
    assert 1 == store.webhooks.outbox.forget(-60)
    assert 0 == count(store, deliveries)


def test_an_endpoint_that_is_deleted_just_now_does_not_undo_what_happened(store, spec):
    job, mine = claimed(store, spec), endpoint(store)
    delete = threading.Thread(target=store.webhooks.delete, args=(mine.id, ""))

    def deleted_in_between(_connection, _cursor, statement, *_context):
        if statement.startswith("INSERT INTO events"):
            delete.start()
            delete.join(0.2)

    sa.event.listen(store.database.engine, "before_cursor_execute", deleted_in_between)
    store.complete(job.id, 1, OUTPUT)
    sa.event.remove(store.database.engine, "before_cursor_execute", deleted_in_between)
    delete.join()
    assert types(store) == []
