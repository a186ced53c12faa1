"""The child process of a GPU worker, without Celery."""

import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.contract.job import Status
from worker import metrics
from worker.child import GPU_FAILED, Child, Flag


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


def test_a_worker_that_fails_leaves_the_job_to_others_for_longer_each_time(place, child, spec):
    job = place.store.create(spec)[0]
    (place.scratch / f"{job.id}-1").mkdir(parents=True)  # is in the way of the first try
    child._place = place
    child._ready.set()
    child._faults = 5
    with capture_logs() as said:
        working = threading.Thread(target=child.work)
        working.start()
        while not [line for line in said if line["event"] == "worker.pausing"]:
            assert working.is_alive()
            time.sleep(0.01)
    assert [(6, 32.0)] == [(e["faults"], e["seconds"]) for e in said if "faults" in e]
    assert working.is_alive()
    assert Status.QUEUED is place.store.get(job.id).status
    child._stopping.set()  # nobody waits for the pause
    working.join(timeout=20)
    assert not working.is_alive()

    child._stopping = Flag()
    child.work()
    assert Status.COMPLETED is place.store.get(job.id).status
    assert child._faults == 0


def test_a_worker_does_not_pause_for_a_job_that_could_be_made_nowhere(place, child, spec):
    job = place.store.create(replace(spec, width=spec.width + 1))[0]
    child._place = place
    child._ready.set()
    child.work()
    assert Status.FAILED is place.store.get(job.id).status
    assert child._faults == 0


def test_a_worker_with_an_impossible_database_ends(child, monkeypatch):
    told = []
    monkeypatch.setattr(os, "kill", lambda *to: told.append(to))
    child._settings = replace(child._settings, database_url="mysql://somewhere/else")
    child._live()
    assert child._unusable.is_set()
    assert [os.getppid()] == [process for process, _ in told]


def test_a_checkpoint_that_cannot_be_loaded_is_told_of_in_a_sentence(child, tmp_path, monkeypatch):
    folder = shutil.copytree(child._worker.checkpoint, tmp_path / "misspelt")
    (folder / "kinora.json").write_text('{"lora": []}')
    child._worker = replace(child._worker, checkpoint=folder)
    killed = []
    monkeypatch.setattr(os, "kill", lambda *call: killed.append(call))
    with capture_logs() as said:
        child._live()
    assert [(os.getppid(), signal.SIGTERM)] == killed
    assert child._unusable.is_set()
    (line,) = [line for line in said if line["event"] == "checkpoint.unusable"]
    assert "kinora.json: lora is none of its keys" in line["error"]
    assert not line["exc_info"]


def test_a_child_whose_gpu_failed_takes_no_job_and_ends(place, child, spec, monkeypatch):
    """CUDA's part is played here: after such an error it answers every call with the same."""

    def failed(_device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", failed)
    monkeypatch.setattr(os, "_exit", sys.exit)
    job, messages = place.store.create(spec)[0], place.queue.depth(spec.model)
    child._place = place
    child._ready.set()
    with pytest.raises(SystemExit) as ended:
        child.work()
    assert GPU_FAILED == ended.value.code
    assert Status.QUEUED is place.store.get(job.id).status
    assert messages + 1 == place.queue.depth(spec.model)  # for a worker that can


def test_a_child_does_not_compute_on_the_cpu_where_the_former_one_lost_a_gpu(child, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    child._had_gpu.set()
    child._live()
    assert child._unusable.is_set()


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
