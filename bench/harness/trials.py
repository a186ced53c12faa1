"""Jobs on a cluster, and what is expected of them whatever happens."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import sqlalchemy as sa

from app.contract.job import Job, Status
from app.contract.tables import checkpoints
from bench.harness.cluster import Cluster

LONG = {"size": "64x64", "seconds": "4.84", "fps": 6, "num_inference_steps": 40, "seed": 1}
SHORT = {"size": "64x64", "seconds": "1.5", "fps": 6, "num_inference_steps": 4, "seed": 2}


class Trials:
    """Jobs on a cluster, and what is expected of them."""

    def __init__(self, cluster: Cluster, seed: int = 0) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.client = httpx.Client(timeout=30)
        self.expected: dict[int, bytes] = {}
        self.usual_s = 0.0

    def create(self, fields: dict[str, Any]) -> str:
        """A job's id, as soon as the API takes it."""
        key = f"trial-{self.random.random()}"

        def created() -> str | None:
            with suppress(httpx.HTTPError):
                answer = self.client.post(
                    f"{self.random.choice(self.cluster.urls)}/v1/videos",
                    json={"prompt": "a red ball", "model": self.cluster.model, **fields},
                    headers={"idempotency-key": key},
                )
                if answer.status_code == 200:
                    return answer.json()["id"]
                assert answer.status_code == 503, answer.text
            return None

        return self.cluster.until(created, "a job to be accepted")

    def get(self, job_id: str) -> Job | None:
        """The row, or None while the database is away."""
        with suppress(sa.exc.DBAPIError):
            return self.cluster.store.get(job_id)
        return None

    def wait(self, job_id: str, condition: Callable[[Job], Any], what: str) -> Job:
        """The job as soon as `condition` holds."""

        def holds() -> Job | None:
            job = self.get(job_id)
            return job if job is not None and condition(job) else None

        return self.cluster.until(holds, what)

    def wait_running(self, job_id: str, progress: float = 0.03) -> Job:
        """The job in the middle of its work."""
        return self.wait(job_id, lambda j: j.progress >= progress or j.finished, "a job to run")

    def wait_completed(self, job_id: str, fields: dict[str, Any]) -> Job:
        """The job, completed once and with the right frames."""
        job = self.wait(job_id, lambda j: j.finished, "a job to end")
        assert job.status is Status.COMPLETED, f"{job.error_code}: {job.error_message}"
        assert job.output_key is not None
        found = self.cluster.until(lambda: self._download(job_id), "a download")
        assert found == self.expected.setdefault(fields["seed"], found), "other frames"
        return job

    def _download(self, job_id: str) -> bytes | None:
        with suppress(httpx.HTTPError):
            url = f"{self.random.choice(self.cluster.urls)}/v1/videos/{job_id}/content"
            answer = self.client.get(url)
            return answer.content if answer.status_code == 200 else None
        return None

    def holder(self) -> str:
        """The worker that has a job, or the first one."""
        with suppress(sa.exc.DBAPIError):
            for job in self.cluster.store.list(limit=10).jobs:
                if job.worker is not None:
                    return job.worker
        return "worker-0"

    def pause(self, seconds: float) -> None:
        """Lets time pass, while what dies is started again."""
        deadline = time.monotonic() + seconds
        self.cluster.until(lambda: time.monotonic() >= deadline, "time to pass")

    def completions(self, job_id: str) -> int:
        """How often workers say that they completed a job."""
        return sum('"job.completed"' in line for line in self._said(job_id))

    def last_words(self, job_id: str) -> str:
        """What a worker said of the job's last failure, or nothing."""
        failures = [line for line in self._said(job_id) if '"job.failed"' in line]
        return failures[-1] if failures else ""

    def _said(self, job_id: str) -> list[str]:
        logs = [part.log for name, part in self.cluster.parts.items() if "worker" in name]
        return [line for log in logs for line in log.read_text().splitlines() if job_id in line]

    def learn(self) -> None:
        """What the clips are, and how long the long one takes, when nothing is disturbed."""
        for fields in (SHORT, LONG):
            began = time.monotonic()
            self.wait_completed(self.create(fields), fields)
            self.usual_s = time.monotonic() - began

    def assert_nothing_left(self) -> None:
        """Waits for the courier, then looks at everything that a job uses."""
        self.cluster.until(self._nothing_left, f"everything to be cleared: {self.left()}", 60)

    def _nothing_left(self) -> bool:
        return not self.left()

    def left(self) -> dict[str, list[Any]]:
        """What is there and belongs to no finished clip."""
        cluster = self.cluster
        outputs: set[str] = set()
        held: list[str] = []
        more = True
        after = None
        while more:
            page = cluster.store.list(after=after, limit=100)
            outputs |= {j.output_key.rpartition("/")[0] for j in page.jobs if j.output_key}
            held += [j.id for j in page.jobs if j.worker or j.lease_until or not j.finished]
            after, more = (page.jobs[-1].id if page.jobs else None), page.has_more
        blobs = [
            b.key for b in cluster.blobs.list() if not b.key.startswith(("inputs/", "health/"))
        ]
        with cluster.store.database.read() as connection:
            kept = list(connection.execute(sa.select(checkpoints.c.job_id)).scalars())
        found: dict[str, list[Any]] = {
            "blobs": [key for key in blobs if key.rpartition("/")[0] not in outputs],
            "leases": held,
            "checkpoints": kept,
            "files": [str(p) for p in (cluster.folder / "scratch").glob("*/*")],
            "processes": cluster.processes("ffmpeg"),
        }
        if cluster.zygote is None:  # forked workers take no messages
            found["messages"] = [1] * cluster.queue.depth(cluster.model)
        return {name: things for name, things in found.items() if things}
