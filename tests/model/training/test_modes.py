"""The verdicts on every mode: right about rendered clips, and not about wrong ones."""

from dataclasses import replace

import pytest
import torch

from model import Pipeline
from model.training import captions, detector, modes, pairs, rendering
from model.training.__main__ import WEIGHTS
from model.training.cases import case
from model.training.weights import load_vae


@pytest.fixture(scope="module")
def judge():
    return modes.Judge(Pipeline.load(WEIGHTS), detector.load(detector.SHIPPED), load_vae(WEIGHTS))


def moving(direction="right"):
    asked = case(0, 160, 256)
    motion = torch.tensor([modes.MOTIONS.index(direction)])
    return replace(asked, scene=replace(asked.scene, motion=motion, style=torch.tensor([0])))


def test_a_clip_goes_on_as_it_truly_would_but_not_backwards_and_not_frozen(judge):
    true = moving().real(modes.SPAN)
    assert judge.goes_on(true, true)
    assert not judge.goes_on(true.flip(2), true)
    assert not judge.goes_on(true[:, :, :1].expand_as(true), true)


def test_tracks_that_differ_do_not_correlate():
    line = torch.stack([torch.linspace(-1, 1, 7), torch.zeros(7)], 1)
    assert modes.correlation(line, line + 0.3) > 0.99
    assert modes.correlation(line, line.flip(0)) < 0
    assert modes.correlation(line, line[:, [1, 0]]) < 0.1
    assert modes.correlation(line * 0.01, line * 0) == 1.0


def test_the_detector_is_not_taken_in():
    found = modes.adversaries(detector.load(detector.SHIPPED), 12)
    assert {"noise", "a still clip", "another shape", "another colour"} == set(found)
    assert min(found.values()) >= 90


def test_an_unseen_word_is_in_no_caption_of_the_training():
    grammar = (*captions.WORDS.values(), *captions.RARER.values())
    seen = {word for words in grammar for word in words}
    seen = {part for word in seen for part in word.split()}
    assert not seen & set(modes.UNSEEN.values())
    assert {*modes.SHAPES, *modes.COLOURS} == set(modes.UNSEEN)


@pytest.mark.parametrize("name", [n for n in modes.MODES if n != "60 s, its last 5 s"])
def test_each_mode_makes_a_clip_and_looks_at_it(judge, name):
    clip, verdict = modes.made(judge, name, 0)
    assert clip.shape[:2] == (1, 3) and clip.abs().max() <= 1
    assert verdict
    assert all(value is None or isinstance(value, bool | float) for value in verdict.values())


def test_each_size_is_made_at_that_size(judge):
    clip, _ = modes.made(judge, "256x256", 0)
    assert clip.shape == (1, 3, 25, 256, 256)


def test_rendered_clips_are_what_they_are_to_be(judge):
    verdicts = [modes.made(judge, "rendered truth", i)[1] for i in range(12)]
    assert sum(all(value is not False for value in v.values()) for v in verdicts) >= 11


@pytest.mark.parametrize(("motion", "told"), [("still", True), ("bounce", True), ("grow", False)])
def test_a_minute_is_asked_of_scenes_that_can_be_told_after_one(judge, motion, told):
    asked = case(22, 160, 256)  # what grows there covers more of the picture then
    motions = torch.tensor([modes.MOTIONS.index(motion)])
    asked = replace(asked, scene=replace(asked.scene, motion=motions))
    assert modes.lasts(judge, asked) == told


def test_a_scene_goes_on_where_its_opening_ends():
    asked = moving()
    opening = asked.real(modes.CLIP)
    assert torch.equal(asked.later(modes.CLIP, 0), opening)
    assert torch.equal(asked.later(13, 0.75), opening[:, :, 12:])


def test_two_objects_are_each_looked_at_in_their_half(judge):
    right, swapped, alone = 0, 0, 0
    for seed in range(8):
        pair = pairs.sample(1, torch.Generator().manual_seed(seed), aspect=1.6)
        pair = tuple(replace(s, style=torch.tensor([0]), motion=torch.tensor([7])) for s in pair)
        clip, _ = pairs.render(pair, modes.CLIP, 160, 256)
        one, _ = rendering.render(pair[0], modes.CLIP, 160, 256)
        names = ("colour", "motion")
        right += all(judge.sees_two(clip, pair, *names).values())
        swapped += judge.sees_two(clip, (pair[1], pair[0]), *names)["colour"] is not False
        alone += judge.sees_two(one, pair, *names)["colour"] is not False
    assert right >= 7 and swapped == 0 and alone == 0


def test_pairs_of_four_seconds_can_be_told_after_them(judge):
    asked = modes.case(3, 160, 256)
    clip, verdict = modes.two(judge, asked, frames=modes.WINDOW, truth=True)
    assert clip.shape == (1, 3, modes.WINDOW, 160, 256)
    assert "motion" not in verdict and verdict["shape"] and verdict["colour"] is not False
