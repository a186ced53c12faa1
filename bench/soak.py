"""Many minutes of clients and faults at once: nothing may be lost, doubled or answered wrongly.

    python bench/soak.py [--checkpoint FOLDER] [--minutes 30] [--every 20] [--clients 4]

Clients create, poll, cancel, delete and download; every so many seconds a random fault of
bench/faults.py hits the service. At the end everything has to be cleared.
"""

import argparse
import collections
import random
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx

from app.contract.job import Status
from app.embedded import default_checkpoint
from bench.faults import faults_of
from bench.harness.cluster import FAKETIME, Cluster
from bench.harness.trials import LONG, SHORT, Trials

#: What a client makes of a job it has created.
ENDS = ("download", "download", "download", "cancel", "delete")


class Client(threading.Thread):
    """One client, until `stopped`: creates a job, and brings it to one of the ends."""

    def __init__(self, trials: Trials, seed: int, stopped: threading.Event) -> None:
        super().__init__(daemon=True)
        self._trials = trials
        self._random = random.Random(seed)
        self._stopped = stopped
        self._http = httpx.Client(timeout=30)
        #: answers by status, 0 for connections that broke
        self.answers: collections.Counter[int] = collections.Counter()
        self.outcomes: collections.Counter[str] = collections.Counter()
        #: jobs that were to be completed, with the fields they were created with
        self.awaited: dict[str, dict[str, object]] = {}
        self.wrong: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._stopped.is_set():
            number += 1
            try:
                self._one(f"{self.name}-{number}")
            except AssertionError as error:
                self.wrong.append(str(error))

    def _one(self, key: str) -> None:
        fields = self._random.choice((SHORT, SHORT, LONG))
        body = {"prompt": "a red ball", "model": self._trials.cluster.model, **fields}
        created = self._call("POST", "/v1/videos", key, json=body)
        job_id = created.json()["id"]
        end = self._random.choice(ENDS)
        if end == "download":
            self.awaited[job_id] = fields
        else:
            self._stopped.wait(self._random.uniform(0, 2 * self._trials.usual_s))
        if end == "cancel":
            self._call("POST", f"/v1/videos/{job_id}/cancel", key, allowed=(409,))
        if end == "delete":
            self._call("DELETE", f"/v1/videos/{job_id}", key, allowed=(404,))
            self.outcomes["deleted"] += 1
            return
        while not self._stopped.wait(0.5):
            job = self._call("GET", f"/v1/videos/{job_id}", key).json()
            if job["status"] in ("completed", "failed"):
                self._ended(job, end, fields)
                return

    def _ended(self, job: dict[str, object], end: str, fields: dict[str, object]) -> None:
        cancelled = job["status"] == "failed" and job["error"]["code"] == "cancelled"  # type: ignore[index]
        assert job["status"] == "completed" or (end == "cancel" and cancelled), f"{job}"
        self.outcomes["cancelled" if cancelled else "completed"] += 1
        if not cancelled:
            answer = self._call("GET", f"/v1/videos/{job['id']}/content", "")
            expected = self._trials.expected[int(str(fields["seed"]))]
            assert answer.content == expected, f"{job['id']}: other frames"

    def _call(self, method: str, path: str, key: str, **more: object) -> httpx.Response:
        """The answer, as soon as there is one that is not 503."""
        allowed = (200, *more.pop("allowed", ()))  # type: ignore[misc]
        while True:
            url = self._random.choice(self._trials.cluster.urls) + path
            try:
                answer = self._http.request(method, url, headers={"idempotency-key": key}, **more)  # type: ignore[arg-type]
            except httpx.HTTPError:
                self.answers[0] += 1
                time.sleep(0.5)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code == 503:
                if "retry-after" not in answer.headers:
                    self.wrong.append(f"503 without retry-after: {method} {path}")
                time.sleep(0.5)
                continue
            assert answer.status_code in allowed, f"{method} {path}: {answer.text[:300]}"
            return answer


def main() -> None:
    """Runs the soak and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=default_checkpoint())
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=20, help="seconds between faults")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--storage", choices=["folder", "s3"], default="s3")
    parser.add_argument("--real", action="store_true", help="workers that Celery starts")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chosen = random.Random(asked.seed)
    with (
        tempfile.TemporaryDirectory(prefix="kinora-soak-") as folder,
        Cluster(
            Path(folder),
            asked.checkpoint,
            database=asked.database,
            storage=asked.storage,
            workers=2,
            couriers=2,
            apis=2,
            forked=not asked.real,
            clock=asked.database == "postgresql" and bool(FAKETIME),
        ) as cluster,
    ):
        trials = Trials(cluster, asked.seed)
        trials.learn()
        here = faults_of(cluster)
        stopped = threading.Event()
        clients = [Client(trials, n, stopped) for n in range(asked.clients)]
        for client in clients:
            client.start()
        faults: collections.Counter[str] = collections.Counter()
        end = time.monotonic() + asked.minutes * 60
        while time.monotonic() < end:
            trials.pause(asked.every)
            name = chosen.choice(list(here))
            faults[name] += 1
            here[name](trials)
        stopped.set()
        for client in clients:
            client.join(60)
        lost, twice = _settle(trials, clients)
        print(f"faults: {sum(faults.values())} {dict(faults)}")
        print(f"answers: {dict(sum((c.answers for c in clients), collections.Counter()))}")
        print(f"outcomes: {dict(sum((c.outcomes for c in clients), collections.Counter()))}")
        print(f"lost: {lost}, twice: {twice}, left: {trials.left()}")
        wrong = [words for client in clients for words in client.wrong]
        print(f"wrong: {len(wrong)}", *wrong[:10], sep="\n")
        sys.exit(1 if lost or twice or wrong or trials.left() else 0)


def _settle(trials: Trials, clients: list[Client]) -> tuple[int, int]:
    """Waits for what is left to do; counts the jobs that were lost and those done twice."""
    lost = twice = 0
    for client in clients:
        for job_id in client.awaited:
            job = trials.wait(job_id, lambda j: j.finished, "a job to end")
            lost += job.status is not Status.COMPLETED
            twice += trials.completions(job_id) > 1
    with suppress(AssertionError):
        trials.assert_nothing_left()
    return lost, twice


if __name__ == "__main__":
    main()
