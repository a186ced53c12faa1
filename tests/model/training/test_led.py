"""Clips that are led to a given end."""

import pytest
import torch

from model.training import led, scenes
from model.training.latents import LONG
from model.training.scenes import MOTIONS
from model.training.tracks import track

FRAMES = 25


def batch(count, seed=0, **how):
    generator = torch.Generator().manual_seed(seed)
    return scenes.sample(count, generator, aspect=1.6, camera="fixed", **how)


@pytest.mark.parametrize("frames", [FRAMES, LONG])
@pytest.mark.parametrize("tail", [1, 2])
def test_half_of_the_scenes_are_led_back_to_where_they_began(tail, frames):
    path = led.lead(batch(200), frames, 1.6, tail, torch.Generator().manual_seed(1))
    end = frames - 4 * tail
    there = [((v[..., end] - v[..., 0]).abs() < 1e-3).all(1) for v in path]
    assert 70 < (there[0] & there[1] & there[2] & there[3]).sum() < 140
    assert path.x.abs().max() < 4 and path.y.abs().max() < 4 and path.radius.min() > 0.05


def test_before_a_picture_at_its_end_an_object_comes_to_rest():
    path = led.lead(batch(50), FRAMES, 1.6, 1, torch.Generator().manual_seed(1))
    for values in path:
        assert (values[..., 21:] - values[..., 21:22]).abs().max() < 1e-4
    speed = torch.stack([v.diff(dim=2).abs() for v in path[:2]]).amax(0)
    assert (speed[..., 20] < speed.amax(2) / 4 + 1e-2).all()


def test_an_object_that_is_led_never_jumps_to_the_other_side_of_the_picture():
    scene = batch(200, 3, later=0.5)
    path = led.lead(scene, LONG, 1.6, 2, torch.Generator().manual_seed(1))
    assert max(v.diff(dim=2).abs().max() for v in path[:2]) < 0.5
    jumping = track(scene, torch.arange(LONG) / 16, scenes.OPENING_S, 1.6).x
    assert jumping.diff(dim=2).abs().max() > 2


def test_at_its_beginning_and_in_a_given_clip_at_its_end_an_object_moves_as_it_would_alone():
    scene = batch(50)
    path = led.lead(scene, FRAMES, 1.6, 2, torch.Generator().manual_seed(1))
    alone = track(scene, torch.arange(FRAMES) / 16, scenes.OPENING_S, 1.6, wraps=False)
    straight = (scene.motion < MOTIONS.index("grow"))[:, :, None]
    for made, own in zip(path[:2], alone[:2], strict=True):
        begin = (made.diff(dim=2) - own.diff(dim=2))[..., :1].abs()
        end = (made.diff(dim=2) - own.diff(dim=2))[..., 17:].abs()
        assert (begin * straight).max() < 1e-4 and (end * straight).max() < 1e-4


def test_what_leads_naturally_to_a_given_clip_never_changes_its_course():
    scene = batch(80, 2, later=0.5)
    path = led.arrive(scene, 33, 1.6, 2)
    straight = scene.motion < MOTIONS.index("grow")
    arrival = torch.stack([path.x[..., 25], path.y[..., 25]], 2)
    place = torch.stack([scene.x, scene.y], 2)
    assert torch.allclose(arrival[straight], place[straight], atol=1e-4)
    speed = torch.stack([path.x.diff(dim=2), path.y.diff(dim=2)])[:, straight]
    steady = (speed - speed[..., -1:]).abs() < 1e-4
    assert (steady | (speed.abs() > 1)).all()  # but where it comes in on the other side
