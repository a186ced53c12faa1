"""The verdicts on every mode: right about rendered clips, and not about wrong ones."""

from dataclasses import replace

import pytest
import torch

from model.training import captions, modes
from model.training.cases import case, cases
from model.training.scenes import BACKGROUNDS, CLASHES, COLOURS


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
    asked = case(0, 160, 256)
    opening = asked.real(modes.CLIP)
    assert torch.equal(asked.later(modes.CLIP, 0), opening)
    assert torch.equal(asked.later(13, 0.75), opening[:, :, 12:])


def test_an_edit_asks_for_another_colour_that_is_seen_on_its_background():
    for asked in cases(40):
        colour = modes.other_colour(asked.scene)
        assert colour != asked.scene.colour
        background = BACKGROUNDS[int(asked.scene.background)]
        assert COLOURS[int(colour)] not in CLASHES[background]


def test_pairs_of_four_seconds_can_be_told_after_them(judge):
    asked = modes.case(3, 160, 256)
    clip, verdict = modes.two(judge, asked, frames=modes.WINDOW, truth=True)
    assert clip.shape == (1, 3, modes.WINDOW, 160, 256)
    assert "motion" not in verdict and verdict["shape"] and verdict["colour"] is not False
