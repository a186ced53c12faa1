"""The service of `kinora serve` under faults: real processes are killed, every job ends once."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.contract.job import Status
from app.contract.store import Store

pytestmark = pytest.mark.service

#: Far above what anything here takes; a deadline against hanging, not a measurement.
PATIENCE_S = 240


class Service:
    """A `kinora serve` process, its parts, and a client of it."""

    def __init__(self, data: Path, checkpoint: Path, *options: str, **environment: str) -> None:
        self.data = data
        self.port = free_port()
        self.command = [sys.executable, "-m", "app.cli", "serve", "--data", data]
        self.command += ["--port", str(self.port), "--checkpoint", checkpoint, *options]
        self.environment = os.environ | environment
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/v1", timeout=30)
        self.process: subprocess.Popen | None = None

    def start(self):
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        wait_for(self.ready, self.log)
        return self

    def ready(self):
        assert self.process.poll() is None, self.log()
        with suppress(httpx.HTTPError):
            return self.client.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        return False

    def log(self):
        return (self.data / "serve.log").read_text()

    def parts(self, *words: str) -> list[int]:
        """Processes that hold this data folder's lock, with these words in their command."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
                held = {entry.readlink() for entry in (folder / "fd").iterdir()}
                if self.data / "lock" in held and all(word in command for word in words):
                    found.append(int(folder.name))
        return sorted(found)

    def worker(self) -> tuple[int, int]:
        """The worker's parent and child process."""
        processes = self.parts("worker.gpu")
        parent = next(p for p in processes if parent_of(p) not in processes)
        return parent, next(p for p in processes if parent_of(p) == parent)

    def create(self, **fields):
        answer = self.client.post("/videos", json={"prompt": "a red ball", **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create_slow(self):
        """A job of some seconds, most of them denoising."""
        return self.create(size="384x384", seconds="1", num_inference_steps=50, seed=1)

    def get(self, job):
        return self.client.get(f"/videos/{job['id']}").json()

    def wait(self, job, condition):
        """The job as soon as `condition(job)` holds."""
        seen = {}

        def holds():
            with suppress(httpx.HTTPError):
                seen.update(self.get(job))
                return condition(seen)
            return False

        wait_for(holds, self.log)
        return seen

    def wait_running(self, job):
        return self.wait(job, lambda j: j["status"] == "in_progress" and j["progress"] >= 3)

    def wait_completed(self, job):
        """The completed job, with its clip downloaded and nothing else stored of it."""
        done = self.wait(job, lambda j: j["status"] in ("completed", "failed"))
        assert done["status"] == "completed", done
        assert b"ftyp" in self.client.get(f"/videos/{job['id']}/content").content[:12]
        stored = list((self.data / "blobs" / "videos" / job["id"]).iterdir())
        assert [str(done["attempt"])] == [folder.name for folder in stored]
        return done

    def stop(self, number=signal.SIGTERM):
        """Ends the supervisor; its parts end by themselves. Returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.client.close()
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            for part in self.parts():
                os.kill(part, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parent_of(process):
    with suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def wait_for(condition, explain):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def service(tmp_path_factory, checkpoint):
    with Service(tmp_path_factory.mktemp("service") / "data", checkpoint) as service:
        yield service


@pytest.mark.parametrize(
    ("victim", "number"),
    [
        ("the whole worker", signal.SIGKILL),
        ("the worker's child", signal.SIGKILL),
        ("the whole worker", signal.SIGTERM),
    ],
)
def test_a_job_whose_worker_ends_in_the_middle_completes_once(service, victim, number):
    job = service.create_slow()
    service.wait_running(job)
    parent, child = service.worker()
    os.kill(parent if victim == "the whole worker" else child, number)
    assert service.wait_completed(job)["attempt"] == 2


def test_a_job_goes_on_while_api_and_courier_are_killed(service):
    job = service.create_slow()
    service.wait_running(job)
    for module in ("app.main", "worker.courier"):
        (process,) = service.parts(module)
        os.kill(process, signal.SIGKILL)
    assert service.wait_completed(job)["attempt"] == 1


def test_queued_jobs_survive_a_redis_that_comes_back_empty(service):
    jobs = [service.create_slow(), service.create(size="64x64", seconds="1")]
    service.wait_running(jobs[0])
    (server,) = service.parts("valkey-server")
    shutil.rmtree(service.data / "redis" / "appendonlydir")
    os.kill(server, signal.SIGKILL)
    jobs.append(service.create(size="64x64", seconds="1"))  # while nobody can be told
    for job in jobs:
        assert service.wait_completed(job)["attempt"] == 1


def test_cancelling_ends_a_queued_and_a_running_job(service):
    running, queued = service.create_slow(), service.create(size="64x64")
    service.wait_running(running)
    for job in (queued, running):
        assert service.client.post(f"/videos/{job['id']}/cancel").status_code == 200
        ended = service.wait(job, lambda j: j["status"] == "failed")
        assert ended["error"]["code"] == "cancelled"
    assert service.get(queued)["attempt"] == 0
    assert service.wait_completed(service.create(size="64x64"))["attempt"] == 1


def test_a_deleted_running_job_leaves_no_blob(service):
    job = service.create_slow()
    service.wait_running(job)
    assert service.client.delete(f"/videos/{job['id']}").json()["deleted"] is True
    assert service.client.get(f"/videos/{job['id']}").status_code == 404
    wait_for(
        lambda: f'"job_id": "{job["id"]}"' in service.log() and removed(service, job), service.log
    )
    assert not (service.data / "blobs" / "videos" / job["id"]).exists()


def removed(service, job):
    return any("job.removed" in line and job["id"] in line for line in service.log().splitlines())


def test_a_data_folder_and_a_port_serve_once(service, tmp_path, checkpoint):
    for data, words in ((service.data, "is in use by another"), (tmp_path / "d", "cannot listen")):
        command = [*service.command]
        command[command.index("--data") + 1] = data
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert second.returncode == 2
        assert words in second.stderr
    assert service.ready()


def test_a_service_stopped_in_the_middle_goes_on_when_started_again(tmp_path, checkpoint):
    with Service(tmp_path / "data", checkpoint) as service:
        job = service.create_slow()
        service.wait_running(job)
        service.stop(signal.SIGKILL)  # the supervisor alone
    with Service(tmp_path / "data", checkpoint) as service:
        service.wait_running(job)
        assert service.stop(signal.SIGINT) == 0
        assert [] == service.parts()
    store = Store.open(f"sqlite:///{tmp_path / 'data' / 'kinora.db'}")
    assert Status.QUEUED is store.get(job["id"]).status  # its worker has handed it back
    store.close()


def test_only_the_workers_child_holds_torch(service):
    _, child = service.worker()
    holders = [p for p in service.parts() if "libtorch" in Path(f"/proc/{p}/maps").read_text()]
    assert [child] == holders
