"""The verdicts on every mode: right about rendered clips, and not about wrong ones."""

from dataclasses import replace

import pytest
import torch

from model import Pipeline
from model.training import detector, evaluate, modes
from model.training.__main__ import WEIGHTS


@pytest.fixture(scope="module")
def judge():
    return modes.Judge(Pipeline.load(WEIGHTS), detector.load(evaluate.SHIPPED))


def moving(direction="right"):
    case = evaluate.case(0, 160, 256)
    motion = torch.tensor([modes.MOTIONS.index(direction)])
    return replace(case, scene=replace(case.scene, motion=motion, style=torch.tensor([0])))


def test_a_clip_goes_on_as_it_truly_would_but_not_backwards_and_not_frozen(judge):
    true = modes.real(moving(), modes.SPAN)
    assert judge.goes_on(true, true)
    assert not judge.goes_on(true.flip(2), true)
    assert not judge.goes_on(true[:, :, :1].expand_as(true), true)


def test_tracks_that_differ_do_not_correlate():
    line = torch.stack([torch.linspace(-1, 1, 7), torch.zeros(7)], 1)
    assert modes._correlation(line, line + 0.3) > 0.99
    assert modes._correlation(line, line.flip(0)) < 0
    assert modes._correlation(line, line[:, [1, 0]]) < 0.1
    assert modes._correlation(line * 0.01, line * 0) == 1.0


def test_the_detector_is_not_taken_in():
    found = modes.adversaries(detector.load(evaluate.SHIPPED), 12)
    assert {"noise", "a still clip", "another shape", "another colour"} == set(found)
    assert min(found.values()) >= 90


def test_an_unseen_word_is_in_no_caption_of_the_training():
    seen = {word for words in modes.captions.WORDS.values() for word in words}
    seen = {part for word in seen for part in word.split()}
    assert not seen & set(modes.UNSEEN.values())
    assert {*modes.SHAPES, *modes.COLOURS} == set(modes.UNSEEN)


@pytest.mark.parametrize("name", [n for n in modes.MODES if n != "60 s, its last 5 s"])
def test_each_mode_makes_a_clip_and_looks_at_it(judge, name):
    run, _ = modes.MODES[name]
    verdict = run(judge, evaluate.cases(1)[0])
    assert verdict
    assert all(isinstance(value, bool | float) for value in verdict.values())


def test_a_table_counts_verdicts_and_averages_numbers():
    rows = {
        "loop": [
            {"closed": True, "first frame, dB": 30.0},
            {"closed": False, "first frame, dB": 34.0},
        ]
    }
    assert "| loop | 2 | closed 50.0, first frame, dB 32.0 |" in modes.table(rows)


def test_processes_share_the_work(capsys):
    rows = modes.score(WEIGHTS, count=4, workers=2, only="unseen")
    assert ["unseen word for the shape", "unseen word for the colour"] == list(rows)
    assert "| unseen word for the shape | 1 |" in capsys.readouterr().out
