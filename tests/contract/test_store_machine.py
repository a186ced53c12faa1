"""Any sequence of moves, also by workers that lost their job, leaves the rows as the rules say."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.contract.job import JobNotFound, JobSpec, MoveRefused, Output, Stage, Status
from app.contract.store import Store

MAX_LOSSES = 3
SPEC = JobSpec(
    model="tiny", prompt="x", width=64, height=64, frames=1, fps=8, steps=1, guidance=1.0, seed=0
)


@dataclass
class Expected:
    """What the rules say about one job."""

    status: Status = Status.QUEUED
    attempt: int = 0
    losses: int = 0
    cancelling: bool = False
    code: str | None = None

    def end(self, code: str) -> None:
        self.status, self.code = Status.FAILED, code


@dataclass(frozen=True)
class Held:
    """A worker's belief that it has a job; it may be out of date."""

    job_id: str
    attempt: int
    worker: str


class Rows(RuleBasedStateMachine):
    jobs = Bundle("jobs")
    held = Bundle("held")
    migrated: bytes

    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "k.db").write_bytes(self.migrated)
        self.store = Store.open(f"sqlite:///{self.folder / 'k.db'}")
        self.expected: dict[str, Expected] = {}
        self.claims = 0

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.folder)

    def has(self, held: Held) -> bool:
        job = self.expected.get(held.job_id)
        return job is not None and (job.status, job.attempt) == (Status.IN_PROGRESS, held.attempt)

    @rule(target=jobs)
    def create(self):
        job, _ = self.store.create(SPEC)
        self.expected[job.id] = Expected()
        return job.id

    @rule(target=held)
    def claim(self):
        self.claims += 1
        worker = f"w{self.claims}"
        job = self.store.claim("tiny", worker, 60)
        queued = [i for i, e in self.expected.items() if e.status is Status.QUEUED]
        if job is None:
            assert queued == []
            return multiple()
        assert job.id in queued
        expected = self.expected[job.id]
        expected.status, expected.attempt = Status.IN_PROGRESS, expected.attempt + 1
        return Held(job.id, job.attempt, worker)

    @rule(held=held)
    def beat(self, held):
        if self.has(held):
            cancelling = self.store.beat(held.job_id, held.attempt, 60, Stage.DENOISE, 0.5)
            assert cancelling == self.expected[held.job_id].cancelling
        else:
            with pytest.raises(MoveRefused):
                self.store.beat(held.job_id, held.attempt, 60, Stage.DENOISE, 0.5)

    @rule(held=held, move=st.sampled_from(["complete", "release", "fail"]))
    def finish(self, held, move):
        job = self.expected.get(held.job_id)
        allowed = self.has(held) and (move == "fail" or not job.cancelling)
        moves = {
            "complete": lambda: self.store.complete(
                held.job_id, held.attempt, Output(key="k", size_bytes=1)
            ),
            "release": lambda: self.store.release(held.job_id, held.attempt),
            "fail": lambda: self.store.fail(held.job_id, held.attempt, "server_error", "x"),
        }
        if not allowed:
            with pytest.raises(MoveRefused):
                moves[move]()
            return
        moves[move]()
        if move == "fail":
            job.end("server_error")
        else:
            job.status = Status.COMPLETED if move == "complete" else Status.QUEUED

    @rule(held=consumes(held))
    def lose(self, held):
        self.store.upkeep.lose_of_worker(held.worker, MAX_LOSSES)
        if not self.has(held):
            return
        job = self.expected[held.job_id]
        job.losses += 1
        if job.cancelling:
            job.end("cancelled")
        elif job.losses >= MAX_LOSSES:
            job.end("worker_lost")
        else:
            job.status = Status.QUEUED

    @rule(job_id=jobs)
    def cancel(self, job_id):
        job = self.expected.get(job_id)
        if job is None:
            with pytest.raises(JobNotFound):
                self.store.cancel(job_id)
        elif job.status is Status.QUEUED:
            self.store.cancel(job_id)
            job.end("cancelled")
        elif job.status is Status.IN_PROGRESS:
            self.store.cancel(job_id)
            job.cancelling = True
        else:
            with pytest.raises(MoveRefused):
                self.store.cancel(job_id)

    @rule(job_id=consumes(jobs))
    def purge(self, job_id):
        if self.expected[job_id].status in (Status.COMPLETED, Status.FAILED):
            self.store.delete(job_id)
            self.store.upkeep.purge(job_id)
            del self.expected[job_id]

    @invariant()
    def rows_are_as_expected(self):
        for job_id, expected in getattr(self, "expected", {}).items():
            job = self.store.get(job_id)
            found = (job.status, job.attempt, job.losses, job.error_code)
            assert found == (expected.status, expected.attempt, expected.losses, expected.code)
            assert (job.worker is not None) == (expected.status is Status.IN_PROGRESS)


def test_any_sequence_of_moves_keeps_the_rules(migrated):
    Rows.migrated = migrated
    run_state_machine_as_test(
        Rows,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
