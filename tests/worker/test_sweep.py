import pytest
import sqlalchemy as sa

from app.contract.job import Output, Status, input_key, output_key
from app.contract.queue import Queue
from app.contract.tables import jobs
from worker.sweep import sweep


@pytest.fixture
def model_spec(spec, request):
    """A spec of a model of this test's own, since all tests share one Redis."""
    from dataclasses import replace

    return replace(spec, model=request.node.name[:100])


def round_of(place):
    sweep(place.store, place.queue, place.blobs, place.settings)


def age(place, seconds):
    with place.store.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET created_at = created_at - {seconds}")


def test_a_job_of_a_lost_worker_is_queued_and_announced(place, model_spec):
    job = place.store.create(model_spec)[0]
    age(place, 60)
    place.store.claim(model_spec.model, "w", -1)
    round_of(place)
    assert Status.QUEUED is place.store.get(job.id).status
    assert place.queue.depth(model_spec.model) == 1


def shift_leases(place, hours):
    """As they look after the database's clock was put forward by so many hours."""
    with place.store.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET lease_until = lease_until - {3600 * hours}")


def test_a_clock_put_forward_costs_a_job_its_worker_but_is_no_end(place, model_spec):
    job = place.store.create(model_spec)[0]
    place.store.claim(model_spec.model, "w", 20)
    shift_leases(place, 1)
    round_of(place)
    assert Status.QUEUED is place.store.get(job.id).status


def test_a_clock_put_back_takes_no_job_from_a_worker_that_lives(place, model_spec):
    job = place.store.create(model_spec)[0]
    place.store.claim(model_spec.model, "w", 20)
    shift_leases(place, -1)
    round_of(place)
    kept = place.store.get(job.id)
    assert (Status.IN_PROGRESS, 0) == (kept.status, kept.losses)
    place.store.upkeep.shorten_leases(-700)  # the present lease is not too long
    round_of(place)
    assert Status.IN_PROGRESS is place.store.get(job.id).status


def test_a_clock_put_back_holds_no_job_of_a_dead_worker_for_long(place, model_spec):
    job = place.store.create(model_spec)[0]
    place.store.claim(model_spec.model, "w", 20)
    shift_leases(place, -1)
    place.store.upkeep.shorten_leases(-1)  # as long ago
    round_of(place)
    assert Status.QUEUED is place.store.get(job.id).status


def test_a_job_made_by_a_clock_that_was_put_back_is_announced(place, model_spec):
    place.store.create(model_spec)
    age(place, -3600)
    round_of(place)
    assert place.queue.depth(model_spec.model) == 1


def test_missing_messages_are_sent_again_and_no_more_than_those(place, model_spec):
    for _ in range(3):
        place.store.create(model_spec)
    age(place, 60)
    place.queue.wake(model_spec.model, ["one"])
    for _ in range(2):
        round_of(place)
        assert place.queue.depth(model_spec.model) == 3


def test_a_job_made_just_now_is_not_announced_twice(place, model_spec):
    place.store.create(model_spec)
    round_of(place)
    assert place.queue.depth(model_spec.model) == 0


def test_a_deleted_job_goes_with_its_blobs(place, model_spec):
    job = place.store.create(model_spec)[0]
    other = place.store.create(model_spec)[0]
    for key in (input_key(job.id, "i.png"), output_key(job.id, 1, "v"), input_key(other.id, "i")):
        place.blobs.put(key, b"x", "image/png")
    place.store.delete(job.id)
    round_of(place)
    assert [input_key(other.id, "i")] == [blob.key for blob in place.blobs.list()]
    assert place.store.upkeep.deleted() == []


def test_a_deleted_job_goes_while_redis_is_away(place, model_spec, tmp_path):
    job, waiting = (place.store.create(model_spec)[0] for _ in range(2))
    place.blobs.put(output_key(job.id, 1, "v"), b"x", "video/mp4")
    age(place, 60)
    place.store.delete(job.id)
    away = Queue(f"unix://{tmp_path / 'nothing.sock'}")
    sweep(place.store, away, place.blobs, place.settings)
    away.close()
    assert list(place.blobs.list()) == []
    round_of(place)
    assert place.queue.depth(waiting.spec.model) == 1


def test_an_expired_video_is_removed_and_its_job_is_not(place, model_spec):
    job = place.store.create(model_spec)[0]
    place.store.claim(model_spec.model, "w", 60)
    key = output_key(job.id, 1, "video.mp4")
    place.blobs.put(key, b"x", "video/mp4")
    place.store.complete(job.id, 1, Output(key=key, size_bytes=1), expire_s=-1)
    round_of(place)
    assert list(place.blobs.list()) == []
    assert place.store.get(job.id).output_key is None


def test_two_rounds_at_once_do_no_harm(place, model_spec):
    import threading

    jobs = [place.store.create(model_spec)[0] for _ in range(5)]
    age(place, 60)
    for _ in jobs:
        place.store.claim(model_spec.model, "w", -1)
    rounds = [threading.Thread(target=round_of, args=(place,)) for _ in range(2)]
    for thread in rounds:
        thread.start()
    for thread in rounds:
        thread.join()
    assert [place.store.get(job.id).losses for job in jobs] == [1] * 5


def test_what_an_ended_job_was_made_from_goes(place, model_spec):
    job = place.store.create(model_spec)[0]
    place.blobs.put(input_key(job.id, "image.png"), b"x", "image/png")
    place.store.claim(model_spec.model, "w", 60)
    place.store.checkpoints.record(job.id, 1, [])
    place.store.fail(job.id, 1, "server_error", "It broke.")
    round_of(place)
    assert list(place.blobs.list()) == []


def test_a_job_of_a_newer_version_ends_no_round(place, model_spec):
    job = place.store.create(model_spec)[0]
    place.store.claim(model_spec.model, "w", 60)
    place.store.checkpoints.record(job.id, 1, [])
    place.blobs.put(output_key(job.id, 1, "v"), b"x", "video/mp4")
    place.store.fail(job.id, 1, "server_error", "")
    with place.store.database.write() as connection:
        connection.execute(sa.update(jobs).values(spec='{"version": 2}'))
    round_of(place)
    assert list(place.blobs.list()) == []
