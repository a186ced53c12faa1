"""Workers of one machine and its GPUs, of which this one has none: device files stand for them."""

import subprocess
import sys

import pytest

from worker import cards

HOLD = """
import sys
from pathlib import Path
import structlog
from worker import cards
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
card = cards.take(Path(sys.argv[1]))
print("none" if card is None else card.number, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """Eleven GPUs, and their driver's other files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{number}" for number in range(11))):
        (folder / name).touch()
    return folder


@pytest.fixture
def worker(devices):
    """Starts a process that takes a GPU and tells which."""
    running = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, devices],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_each_worker_of_a_machine_takes_a_gpu_of_its_own(worker):
    assert [worker()[1] for _ in range(3)] == ["0", "1", "2"]


def test_the_gpu_of_a_killed_worker_is_free_again(worker):
    first, _ = worker()
    worker()
    first.kill()
    first.wait()
    assert worker()[1] == "0"


def test_gpus_are_counted_as_numbers(worker):
    assert [worker()[1] for _ in range(11)][-1] == "10"
    assert worker()[1] == "none"


def test_a_single_gpu_is_not_locked(devices, tmp_path):
    for node in devices.glob("nvidia[1-9]*"):
        node.unlink()
    assert cards.take(devices) is None
    assert list(tmp_path.glob("*.lock")) == []
