"""The judge: right about rendered clips, and not about wrong ones."""

from dataclasses import replace

import torch

from model.training import pairs, rendering
from model.training.cases import case
from model.training.judge import SPAN, correlation
from model.training.scenes import MOTIONS

FRAMES = 25


def test_a_clip_goes_on_as_it_truly_would_but_not_backwards_and_not_frozen(judge):
    asked = case(0, 160, 256)
    motion = torch.tensor([MOTIONS.index("right")])
    scene = replace(asked.scene, motion=motion, style=torch.tensor([0]))
    true = replace(asked, scene=scene).real(SPAN)
    assert judge.goes_on(true, true)
    assert not judge.goes_on(true.flip(2), true)
    assert not judge.goes_on(true[:, :, :1].expand_as(true), true)


def test_two_objects_are_each_looked_at_in_their_half(judge):
    right, swapped, alone = 0, 0, 0
    for seed in range(8):
        pair = pairs.sample(1, torch.Generator().manual_seed(seed), aspect=1.6)
        pair = tuple(replace(s, style=torch.tensor([0]), motion=torch.tensor([7])) for s in pair)
        clip, _ = pairs.render(pair, FRAMES, 160, 256)
        one, _ = rendering.render(pair[0], FRAMES, 160, 256)
        names = ("colour", "motion")
        right += all(judge.sees_two(clip, pair, *names).values())
        swapped += judge.sees_two(clip, (pair[1], pair[0]), *names)["colour"] is not False
        alone += judge.sees_two(one, pair, *names)["colour"] is not False
    assert right >= 7 and swapped == 0 and alone == 0


def test_tracks_that_differ_do_not_correlate():
    line = torch.stack([torch.linspace(-1, 1, 7), torch.zeros(7)], 1)
    assert correlation(line, line + 0.3) > 0.99
    assert correlation(line, line.flip(0)) < 0
    assert correlation(line, line[:, [1, 0]]) < 0.1
    assert correlation(line * 0.01, line * 0) == 1.0
