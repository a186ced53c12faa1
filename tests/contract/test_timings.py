"""What workers measured, and what follows for others, on SQLite and on PostgreSQL."""

from dataclasses import replace

import pytest

from app.contract.job import Stage


@pytest.fixture
def long(spec):
    return replace(spec, frames=64, steps=10)


def test_nothing_is_known_before_the_first_job(store, spec):
    assert store.timings.estimate(spec) is None
    assert store.eta_s(store.create(spec)[0]) is None


def test_a_run_takes_the_sum_of_its_stages(store, long):
    store.timings.record(long, {"text": 1.0, "step": 2.0, "decode": 3.0, "upload": 0.5})
    assert 1 + 10 * 2 + 3 + 0.5 == pytest.approx(store.timings.estimate(long))
    assert 1 + 20 * 2 + 3 + 0.5 == pytest.approx(store.timings.estimate(replace(long, steps=20)))


def test_an_edit_takes_the_steps_that_its_strength_leaves(store, long):
    store.timings.record(long, {"step": 2.0})
    assert 10 * 2 == pytest.approx(store.timings.estimate(replace(long, strength=1.0)))
    assert 5 * 2 == pytest.approx(store.timings.estimate(replace(long, strength=0.5)))


def test_another_size_or_length_is_scaled(store, long):
    store.timings.record(long, {"text": 1.0, "step": 2.0})
    assert 1 + 10 * 1 == pytest.approx(store.timings.estimate(replace(long, frames=32)))
    assert 1 + 10 * 8 == pytest.approx(store.timings.estimate(replace(long, width=256)))
    assert store.timings.estimate(replace(long, model="other")) is None


def test_the_size_itself_counts_more_than_one_that_is_near(store, long):
    wide = replace(long, width=128)
    store.timings.record(long, {"step": 2.0})
    store.timings.record(wide, {"step": 9.0})
    assert (20, 90) == (store.timings.estimate(long), store.timings.estimate(wide))


def test_later_measurements_count_more(store, long):
    for seconds in (1.0, *[3.0] * 20):
        store.timings.record(long, {"step": seconds})
    assert 30 == pytest.approx(store.timings.estimate(long), rel=0.01)


def test_an_unknown_stage_is_refused(store, spec):
    with pytest.raises(ValueError, match="dinner"):
        store.timings.record(spec, {"dinner": 1.0})


def test_what_is_before_a_job_is_shared_by_the_workers(store, long, capabilities):
    store.timings.record(long, {"step": 2.0})
    jobs = [store.create(long)[0] for _ in range(3)]
    assert store.eta_s(jobs[0]) is None  # nobody is there to do it
    for worker in ("w1", "w2"):
        store.models.register(worker, capabilities)
    assert [20, 30, 40] == [pytest.approx(store.eta_s(job)) for job in jobs]


def test_a_running_job_has_the_rest_of_its_run_to_go(store, long, capabilities):
    store.timings.record(long, {"step": 2.0})
    store.models.register("w1", capabilities)
    store.create(long)
    waiting = store.create(long)[0]
    job = store.claim("tiny", "w1", 60)
    store.beat(job.id, 1, 60, Stage.DENOISE, 0.75)
    assert 5 == pytest.approx(store.eta_s(store.get(job.id)))
    assert 25 == pytest.approx(store.eta_s(waiting))
    store.fail(job.id, 1, "server_error", "")
    assert store.eta_s(store.get(job.id)) is None
