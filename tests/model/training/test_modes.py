"""The verdicts on every mode: right about rendered clips, and not about wrong ones."""

from dataclasses import replace

import pytest
import torch

from model import Pipeline
from model.training import cases, detector, judging, minutes, modes, scenes
from model.training.__main__ import WEIGHTS
from model.training.cases import case
from model.training.one_object import UNSEEN
from model.training.rendering import render
from model.training.weights import load_vae
from model.training.words import RARER, WORDS


@pytest.fixture(scope="module")
def judge():
    return judging.Judge(Pipeline.load(WEIGHTS), detector.load(detector.SHIPPED), load_vae(WEIGHTS))


def moving(direction="right"):
    asked = case(0, 160, 256)
    motion = torch.full((1, scenes.OBJECTS), scenes.MOTIONS.index(direction))
    return replace(asked, scene=replace(asked.scene, motion=motion, style=torch.tensor([0])))


def test_a_clip_goes_on_as_it_truly_would_but_not_backwards_and_not_frozen(judge):
    true = moving().real(judging.SPAN)
    assert judge.goes_on(true, true)
    assert not judge.goes_on(true.flip(2), true)
    assert not judge.goes_on(true[:, :, :1].expand_as(true), true)


def test_tracks_that_differ_do_not_correlate():
    line = torch.stack([torch.linspace(-1, 1, 7), torch.zeros(7)], 1)
    assert judging.correlation(line, line + 0.3) > 0.99
    assert judging.correlation(line, line.flip(0)) < 0
    assert judging.correlation(line, line[:, [1, 0]]) < 0.1
    assert judging.correlation(line * 0.01, line * 0) == 1.0


def test_the_detector_is_not_taken_in():
    found = modes.adversaries(detector.load(detector.SHIPPED), 12)
    assert {"noise", "a still clip", "another shape", "another colour"} == set(found)
    assert min(found.values()) >= 90


def test_an_unseen_word_is_in_no_caption_of_the_training():
    grammar = (*WORDS.values(), *RARER.values())
    seen = {word for words in grammar for word in words}
    seen = {part for word in seen for part in word.split()}
    assert not seen & set(UNSEEN.values())
    assert {*scenes.SHAPES, *scenes.COLOURS} == set(UNSEEN)


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
    asked = case(21, 160, 256)
    motions = torch.full((1, scenes.OBJECTS), scenes.MOTIONS.index(motion))
    # What is white and grows before black covers more of the picture then.
    black, white = scenes.BACKGROUNDS.index("black"), scenes.COLOURS.index("white")
    scene = replace(
        asked.scene,
        motion=motions,
        style=torch.tensor([0]),
        background=torch.tensor([black]),
        colour=torch.full_like(asked.scene.colour, white),
    )
    assert minutes.lasts(judge, replace(asked, scene=scene)) == told


def test_a_scene_goes_on_where_its_opening_ends():
    asked = moving()
    opening = asked.real(cases.WINDOW)
    assert torch.allclose(asked.later(cases.WINDOW, 0), opening, atol=1e-4)
    assert torch.allclose(asked.later(13, 0.75), opening[:, :, 12:25], atol=1e-2)


@pytest.mark.parametrize(
    ("layout", "height", "width"),
    [("beside", 160, 256), ("above", 192, 192), ("three", 160, 256), ("three", 256, 160)],
)
def test_several_objects_are_each_looked_at_in_their_part(judge, layout, height, width):
    found = {"right": 0, "swapped": 0, "alone": 0}
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        scene = scenes.sample(1, generator, aspect=width / height, layout=layout, camera="fixed")
        still = torch.full_like(scene.motion, scenes.MOTIONS.index("still"))
        scene = replace(scene, style=torch.tensor([0]), motion=still)
        clip, _ = render(scene, cases.CLIP, height, width)
        one, _ = render(replace(scene, count=torch.tensor([1])), cases.CLIP, height, width)
        swapped = replace(scene, colour=scene.colour.roll(1, 1), shape=scene.shape.roll(1, 1))
        names = ("colour", "motion")
        found["right"] += all(judge.sees_each(clip, scene, *names).values())
        found["swapped"] += judge.sees_each(clip, swapped, *names)["colour"] is not False
        found["alone"] += judge.sees_each(one, scene, *names)["colour"] is not False
    assert found["right"] >= 7 and found["swapped"] == 0 and found["alone"] == 0


def test_an_edit_asks_for_a_colour_that_can_be_seen():
    generator = torch.Generator().manual_seed(0)
    for i in range(20):
        scene = cases.coloured(case(i, 160, 256).scene)
        other = cases.recoloured(scene, generator)
        colour = scenes.COLOURS[int(other.colour[0, 0])]
        assert colour not in scenes.CLASHES[scenes.BACKGROUNDS[int(scene.background[0])]]
        assert int(other.colour[0, 0]) != int(scene.colour[0, 0])


def test_prompts_that_want_a_style_with_colours_get_one():
    styles = torch.arange(len(scenes.STYLES))
    scene = replace(case(0, 160, 256).scene, style=styles)
    names = [scenes.STYLES[i] for i in cases.coloured(scene).style]
    assert ["flat", "shaded", "flat", "shaded", "watercolour", "neon"] == names


def test_what_is_right_of_one_object_says_nothing_of_another():
    found = judging.every([{"shape": True, "colour": None}, {"shape": False, "colour": True}])
    assert {"shape": False, "colour": None} == found
