import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.contract.job import Stage, Status
from worker.progress import SHARES, STALLED, Cancelled, Lease, LeaseLost, Stopping
from worker.render import _lease

#: A job of four seconds in short steps, and then a call that does not return.
HANGING = """
import sys, time
from app.contract.store import Store
from worker.progress import Lease

store = Store.open(sys.argv[1])
job = store.claim(sys.argv[2], "w", 60)
with Lease(job, store, lease_s=60, heartbeat_s=0.05, stall_s=3) as held:
    for _ in range(40):
        time.sleep(0.1)
        held.check()
    print("all steps", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def job(place, spec):
    place.store.create(spec)
    return place.store.claim(spec.model, "w", 60)


def lease(place, job, lease_s=60.0, stopping=lambda: False):
    return Lease(job, place.store, lease_s=lease_s, heartbeat_s=0.02, stopping=stopping)


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def interrupted(lease):
    """Whether the next check would raise; the exception is kept for the assertion after it."""
    try:
        lease.check()
    except (Cancelled, LeaseLost, Stopping) as error:
        lease.raised = type(error)
        return True
    return False


def test_progress_reaches_the_row_and_never_goes_back(place, job):
    shown = []
    with lease(place, job) as held:
        for stage in SHARES:
            for step in (1, 2):
                held.report(stage, step, 2)
                before = sum(list(SHARES.values())[: list(SHARES).index(stage)])
                expected = before + SHARES[stage] * step / 2
                wait_until(lambda e=expected: abs(place.store.get(job.id).progress - e) < 1e-9)
                shown.append(place.store.get(job.id))
    assert sorted(shown, key=lambda j: j.progress) == shown
    assert shown[-1].progress == pytest.approx(1.0) and shown[-1].percent == 99


def test_a_held_job_outlives_its_first_lease(place, spec):
    place.store.create(spec)
    job = place.store.claim(spec.model, "w", 5)
    with lease(place, job, lease_s=60) as held:
        wait_until(lambda: place.store.get(job.id).lease_until > job.lease_until + 30)
        assert not place.store.upkeep.lose_expired(3).requeued
        held.check()


def test_cancelling_is_noticed(place, job):
    with lease(place, job) as held:
        place.store.cancel(job.id)
        wait_until(lambda: interrupted(held))
    assert Cancelled is held.raised


def test_a_lost_lease_is_noticed(place, job):
    with lease(place, job) as held:
        place.store.upkeep.lose_of_worker("w", 3)
        wait_until(lambda: interrupted(held))
    assert LeaseLost is held.raised
    assert Status.QUEUED is place.store.get(job.id).status


def test_a_lease_that_cannot_be_renewed_is_given_up_in_time(place, job, tmp_path):
    (tmp_path / "kinora.db").rename(tmp_path / "away.db")
    place.store.database.engine.dispose()
    with lease(place, job, lease_s=0.2) as held:
        wait_until(lambda: interrupted(held))
    assert LeaseLost is held.raised


def test_a_stopping_worker_stops_at_the_next_step(place, job):
    with lease(place, job, stopping=lambda: True) as held:
        held.report(Stage.DENOISE, 1, 10)  # where there is nothing to hand over yet
        with pytest.raises(Stopping):
            held.check_stopping()
        with pytest.raises(Stopping):
            held.wait(60)


def test_stages_that_take_turns_add_up(place, job):
    with lease(place, job) as held:
        held.report(Stage.TEXT, 1, 1)
        for window in (1, 2):
            held.report(Stage.DENOISE, window, 2)
            held.report(Stage.DECODE, window, 2)
            done = SHARES[Stage.TEXT] + (SHARES[Stage.DENOISE] + SHARES[Stage.DECODE]) * window / 2
            assert held.progress == pytest.approx(done)


def test_a_job_taken_over_does_not_begin_at_nothing(place, job):
    with lease(place, replace(job, progress=0.5)) as held:
        held.report(Stage.DENOISE, 1, 100)
        assert held.progress == 0.5


def test_a_process_whose_job_stands_still_ends_and_one_that_is_slow_does_not(place, spec):
    place.store.create(spec)
    command = [sys.executable, "-c", HANGING, place.settings.database_url, spec.model]
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root)
    assert STALLED == ended.returncode, ended.stderr
    assert "all steps" in ended.stdout and "job.stalled" in ended.stdout
    assert place.store.upkeep.lose_of_worker("w", 3).requeued


def test_a_worker_gives_a_job_as_long_as_its_settings_say(place, job):
    patient = replace(place, worker=replace(place.worker, stall_s=7))
    assert 7 == _lease(job, patient)._stall_s
    assert 1800 == _lease(job, place)._stall_s
