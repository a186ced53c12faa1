"""Faults while jobs run, on the databases and storages that the service is shipped for.

Every job completes once, with the frames that it has when nothing is disturbed, and leaves nothing.
`bench/faults.py` does the same with more faults and more often.
"""

import os
import signal

import pytest

from app.contract.job import Stage, Status, output_prefix
from bench.faults import FAULTS, OF_CLOCKS, OF_POSTGRESQL, Tally, storage, trial
from bench.harness.trials import LONG, SHORT

pytestmark = pytest.mark.service

# Every stage lasts several heartbeats, by which a stage is seen, on a fast machine too.
LASTING = LONG | {"size": "320x320", "num_inference_steps": 40, "seed": 3}
# Its first step lasts seconds: nothing is kept of it, however late its worker is killed.
HEAVY = LONG | {"size": "1088x1088", "fps": 24, "seed": 4}


@pytest.mark.parametrize(
    "name",
    [
        "worker killed",
        "worker told to stop",
        "worker frozen beyond its lease",
        "ffmpeg killed",
        "API killed",
        "courier killed",
        "Redis comes back empty",
        "database restarted",
        "database killed",
    ],
)
def test_every_job_completes_once_in_spite_of(trials, name):
    if name in OF_POSTGRESQL and "postgresql" not in trials.cluster.parts:
        pytest.skip("a database that is a file has no process")
    tally = Tally()
    trial(trials, (FAULTS | OF_POSTGRESQL)[name], tally)
    assert (tally.lost, tally.twice, tally.left) == (0, 0, 0), tally.words


@pytest.mark.parametrize("mode", ["cut", "503", "hole", "full", 20_000])
def test_every_job_outlasts_a_storage_that_is(trials, mode):
    if trials.cluster.proxy is None:
        pytest.skip("a folder is always there")
    tally = Tally()
    trial(trials, storage(mode, 2), tally)
    assert (tally.lost, tally.twice, tally.left) == (0, 0, 0), tally.words


@pytest.mark.parametrize("stage", [Stage.TEXT, Stage.DENOISE, Stage.DECODE, Stage.UPLOAD])
def test_a_worker_can_die_in_any_stage(trials, stage):
    job = trials.create(LASTING)
    reached = trials.wait(job, lambda j: j.stage is stage or j.finished, "the stage")
    # The text and the upload may be over between two heartbeats.
    assert reached.stage is stage or stage in (Stage.TEXT, Stage.UPLOAD)
    if reached.worker is not None:
        trials.cluster.parts[reached.worker].send(signal.SIGKILL)
    trials.wait_completed(job, LASTING)
    trials.assert_nothing_left()


def test_a_worker_can_die_between_storing_a_clip_and_saying_so(trials):
    job, cluster = trials.create(SHORT), trials.cluster
    prefix = output_prefix(job)
    cluster.until(lambda: any(cluster.blobs.list(prefix)) or trials.get(job).finished, "a blob")
    worker = trials.get(job).worker
    if worker is not None:
        cluster.parts[worker].send(signal.SIGKILL)
    trials.wait_completed(job, SHORT)
    trials.assert_nothing_left()


def test_a_job_that_kills_its_workers_is_given_up_and_others_are_not(trials):
    poisoned = trials.create(HEAVY)
    for attempt in (1, 2, 3):
        running = trials.wait(
            poisoned, lambda j, a=attempt: j.attempt == a and j.worker, "an attempt"
        )
        os.kill(trials.cluster.parts[running.worker].pid, signal.SIGKILL)
    other = trials.create(SHORT)
    lost = trials.wait(poisoned, lambda j: j.finished, "the job to be given up")
    assert (lost.status, lost.error_code, lost.losses) == (Status.FAILED, "worker_lost", 3)
    assert trials.wait_completed(other, SHORT).attempt == 1
    trials.assert_nothing_left()


@pytest.mark.parametrize("stage", [Stage.TEXT, Stage.DENOISE, Stage.DECODE])
def test_a_job_can_be_cancelled_in_any_stage(trials, stage):
    job = trials.create(LASTING)
    reached = trials.wait(job, lambda j: j.stage is stage or j.finished, "the stage")
    trials.cluster.store.cancel(job)
    ended = trials.wait(job, lambda j: j.finished, "the job to end")
    assert (ended.status, ended.error_code) == (Status.FAILED, "cancelled"), reached
    trials.assert_nothing_left()


@pytest.mark.parametrize("mode", ["503", "hole"])
def test_a_job_can_be_cancelled_while_its_clip_cannot_be_stored(trials, mode):
    if trials.cluster.proxy is None:
        pytest.skip("a folder is always there")
    job = trials.create(SHORT)
    trials.wait(job, lambda j: j.stage is not Stage.QUEUED or j.finished, "the job to begin")
    trials.cluster.proxy.set(mode)
    try:
        trials.wait(job, lambda j: j.stage is Stage.UPLOAD or j.finished, "the upload")
        trials.cluster.store.cancel(job)
        ended = trials.wait(job, lambda j: j.finished, "the job to end")
        assert (ended.status, ended.error_code) == (Status.FAILED, "cancelled")
    finally:
        trials.cluster.proxy.set("ok")
    trials.assert_nothing_left()


@pytest.mark.parametrize("name", OF_CLOCKS)
def test_every_job_outlasts_clocks_that_jump(trials, name):
    if trials.cluster.clock is None:
        pytest.skip("a database that is a file has the clock of its programs")
    tally = Tally()
    trial(trials, OF_CLOCKS[name], tally)
    assert (tally.lost, tally.twice, tally.left) == (0, 0, 0), tally.words
    # An hour without a word takes a model off offer; the next beat brings it back.
    trials.wait_completed(trials.create(SHORT), SHORT)


def test_a_cancelled_queued_job_never_starts(trials):
    for name in ("worker-0", "worker-1"):
        trials.cluster.parts[name].stop()
    job, other = trials.create(LONG), trials.create(SHORT)
    trials.cluster.store.cancel(job)
    for name in ("worker-0", "worker-1"):
        trials.cluster.parts[name].start()
    trials.wait_completed(other, SHORT)
    assert (trials.get(job).error_code, trials.get(job).attempt) == ("cancelled", 0)
    trials.assert_nothing_left()
