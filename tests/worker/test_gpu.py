"""The child process of a GPU worker, without Celery."""

import os
import shutil
from dataclasses import replace
from multiprocessing import Event

import pytest

from app.contract.job import Status
from worker.gpu import Child


@pytest.fixture
def child(place, checkpoint, spec):
    worker = replace(place.worker, checkpoint=checkpoint, model_id=spec.model)
    return Child(place.settings, worker, Event(), Event())


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
