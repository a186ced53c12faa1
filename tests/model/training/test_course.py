"""A stage's minutes and state, over interruptions."""

import json

import pytest
import torch

from model.training import course
from model.training.course import Course, rate


def test_a_course_that_was_cut_off_goes_on_from_what_was_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "SAVED_EVERY_S", 0)
    state = {"value": torch.zeros(1)}
    first = Course(tmp_path, "stage", 60)
    assert (first.found, first.step) == (None, 0)
    reached = []
    for done, _ in first.steps(lambda: state):
        reached.append(done)
        if first.step == 3:
            break  # as if it were killed: this step's work is lost
        state["value"] += 1
    second = Course(tmp_path, "stage", 60)
    assert second.found is not None
    assert (second.step, second.found["value"].tolist()) == (3, [3.0])
    goes_on, _ = next(second.steps(lambda: state))
    assert goes_on > reached[-2] > 0


def test_a_course_whose_minutes_are_over_takes_no_step_more(tmp_path):
    first = Course(tmp_path, "stage", 0.01)
    assert sum(1 for _ in first.steps(dict)) > 0
    again = Course(tmp_path, "stage", 0.01)
    assert list(again.steps(dict)) == []
    assert again.step == first.step
    shorter = Course(tmp_path, "stage", 0.005)
    assert list(shorter.steps(dict)) == []
    assert json.loads((tmp_path / "state/state.json").read_text())["minutes"] == 0.01


def test_a_rate_rises_and_stays_and_falls():
    rates = [rate(step, step / 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 50)
    assert set(rates[49:400]) == {1.0}
    assert rates[400:] == sorted(rates[400:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=0.002)
