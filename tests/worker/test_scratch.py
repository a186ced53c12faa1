"""Folders for temporary files, of workers that are processes of their own."""

import os
import signal
import subprocess
import sys

import pytest

from worker import scratch
from worker.locks import locked
from worker.settings import WorkerSettings

WORK = """
import sys
from pathlib import Path
import structlog
from worker import scratch
from worker.settings import WorkerSettings
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
worker = WorkerSettings(scratch=Path(sys.argv[1]))
with scratch.held(worker, sys.argv[2]):
    (scratch.emptied(worker, sys.argv[2]) / "job").write_text("half a clip")
    print("working", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Starts a worker of a name, which has a file in its folder."""
    running = []

    def start(name):
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, tmp_path, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout.readline() == "working\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_worker_left_is_removed_by_the_next_one(tmp_path, start):
    killed = start("host-1")
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert (tmp_path / "kinora-host-1" / "job").exists()
    start("host-2")
    assert ["kinora-host-2", "kinora-host-2.held"] == names(tmp_path)


def test_a_child_that_outlives_its_worker_keeps_nothing_from_the_next_one(tmp_path):
    orphan = """
import os, sys, time
from pathlib import Path
from worker.locks import locked
lock = locked(Path(sys.argv[1]))
child = os.fork()
if not child:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
sys.stdin.read()
"""
    path = tmp_path / "kinora-host-1.held"
    command = [sys.executable, "-c", orphan, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as of:
        child = int(of.stdout.readline())
        try:
            assert locked(path) is None
            of.kill()
            of.wait()
            lock = locked(path)
            assert lock is not None
            lock.close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_worker_that_runs_keeps_its_folder(tmp_path, start):
    first = start("host-1")
    start("host-2").communicate("")
    assert ["kinora-host-1", "kinora-host-1.held"] == names(tmp_path)
    assert (tmp_path / "kinora-host-1" / "job").exists()
    first.communicate("")
    assert [] == names(tmp_path)


def test_folders_without_a_lock_are_not_ours_to_remove(tmp_path, start):
    (tmp_path / "kinora-clip-abc").mkdir()
    start("host.example-1").communicate("")
    assert ["kinora-clip-abc"] == names(tmp_path)


def test_a_name_that_is_used_twice_is_told_of(tmp_path, start, capfd):
    start("host-1")
    start("host-1").communicate("")
    assert "scratch.shared" in capfd.readouterr().err
    assert ["kinora-host-1", "kinora-host-1.held"] == names(tmp_path)


def test_a_folder_that_cannot_be_made_is_left_to_the_child_to_tell_of(tmp_path):
    (tmp_path / "file").touch()
    worker = WorkerSettings(scratch=tmp_path / "file" / "scratch")
    with scratch.held(worker, "host-1"), pytest.raises(OSError, match="file"):
        scratch.emptied(worker, "host-1")
