"""The child process of a GPU worker, without Celery."""

import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from app.contract.job import Status
from worker import metrics
from worker.gpu import Child, Flag


@pytest.fixture
def child(place, checkpoint, spec):
    worker = replace(place.worker, checkpoint=checkpoint, model_id=spec.model)
    return Child(place.settings, worker, Flag(), Flag())


def test_a_worker_whose_folder_was_cleaned_away_takes_its_next_job(place, child, spec):
    job = place.store.create(spec)[0]
    child._place = place
    child._ready.set()
    shutil.rmtree(place.scratch, ignore_errors=True)
    child.work()
    assert Status.COMPLETED is place.store.get(job.id).status


def test_a_worker_with_an_impossible_database_ends(child, monkeypatch):
    told = []
    monkeypatch.setattr(os, "kill", lambda *to: told.append(to))
    child._settings = replace(child._settings, database_url="mysql://somewhere/else")
    child._live()
    assert child._unusable.is_set()
    assert [os.getppid()] == [process for process, _ in told]


def test_jobs_of_children_that_died_are_counted_on_from_child_to_child(place, child, spec):
    job = place.store.create(spec)[0]
    for count in (1, 2):
        metrics.REQUEUED.reset()  # each child is a new process
        assert place.store.claim(spec.model, child._name, 60).id == job.id
        child._disown(place.store)
        assert Status.QUEUED is place.store.get(job.id).status
        assert REGISTRY.get_sample_value("kinora_jobs_requeued_total") == count


def test_a_process_killed_while_it_looks_at_a_flag_holds_up_nobody():
    for _ in range(20):
        flag = Flag()
        looks = os.fork()
        if not looks:
            while not flag.is_set():
                pass
            os._exit(0)
        time.sleep(0.01)
        os.kill(looks, signal.SIGKILL)
        os.waitpid(looks, 0)
        flag.set()
        assert flag.is_set()
