"""Clips that are led to a given end."""

import pytest
import torch

from model.given import PAST
from model.training import led, scenes, trajectories
from model.training.__main__ import WEIGHTS
from model.training.cases import psnr
from model.training.footage import draw
from model.training.pools import BUCKETS, LONG
from model.training.scenes import MOTIONS
from model.training.weights import load_vae

FRAMES = 25


def batch(count, seed=0):
    return scenes.sample(count, torch.Generator().manual_seed(seed), aspect=1.6)


@pytest.mark.parametrize("frames", [FRAMES, LONG])
@pytest.mark.parametrize("tail", [1, 2])
def test_half_of_the_objects_are_led_back_to_where_they_began(tail, frames):
    x, y, r = led.lead(batch(200), frames, 1.6, tail, torch.Generator().manual_seed(1))
    end = frames - 4 * tail
    there = [(v[:, end] - v[:, 0]).abs() < 1e-4 for v in (x, y, r)]
    assert 70 < (there[0] & there[1] & there[2]).sum() < 140
    assert x.abs().max() < 3 and y.abs().max() < 3 and r.min() > 0.1


def test_before_a_picture_at_its_end_an_object_comes_to_rest():
    path = led.lead(batch(50), FRAMES, 1.6, 1, torch.Generator().manual_seed(1))
    for values in path:
        assert (values[:, 21:] - values[:, 21:22]).abs().max() < 1e-4
    speed = torch.stack([v.diff(dim=1).abs() for v in path[:2]]).amax(0)
    assert (speed[:, 20] < speed.amax(1) / 4 + 1e-3).all()


def test_the_time_of_a_clip_stands_still_where_one_picture_is_given_at_its_end():
    picture, clip = led.moments(FRAMES, 1), led.moments(FRAMES, 2)
    assert torch.equal(clip, torch.arange(FRAMES) / 16)
    assert torch.equal(picture[:11], clip[:11])
    assert (picture.diff() >= 0).all() and (picture[21:] == picture[21]).all()


def test_an_object_that_is_led_never_jumps_to_the_other_side_of_the_picture():
    scene = scenes.sample(200, torch.Generator().manual_seed(3), aspect=1.6, later=0.5)
    x, y, _ = led.lead(scene, LONG, 1.6, 2, torch.Generator().manual_seed(1))
    assert max(v.diff(dim=1).abs().max() for v in (x, y)) < 0.5
    jumping = trajectories.track(scene, torch.arange(LONG) / 16, trajectories.OPENING_S, 1.6)[0]
    assert jumping.diff(dim=1).abs().max() > 2


def test_at_its_beginning_and_in_a_given_clip_at_its_end_an_object_moves_as_it_would_alone():
    scene = batch(50)
    path = led.lead(scene, FRAMES, 1.6, 2, torch.Generator().manual_seed(1))
    alone = trajectories.track(scene, torch.arange(FRAMES) / 16, 24 / 16, 1.6)
    for made, own in zip(path[:2], alone[:2], strict=True):
        assert torch.allclose(made[:, :2], own[:, :2])
        assert torch.allclose(made[:, 17:].diff(dim=1), own[:, 17:].diff(dim=1), atol=1e-4)


def test_what_leads_naturally_to_a_given_clip_never_changes_its_course():
    scene = scenes.sample(80, torch.Generator().manual_seed(2), aspect=1.6, later=0.5)
    x, y, _ = led.arrive(scene, 33, 1.6, 2)
    arrival = torch.stack([x[:, 25], y[:, 25]], 1)
    straight = scene.motion < MOTIONS.index("grow")
    place = torch.stack([scene.x, scene.y], 1)
    assert torch.allclose(arrival[straight], place[straight], atol=1e-4)
    speed = torch.stack([x.diff(dim=1), y.diff(dim=1)])[:, straight]
    steady = (speed - speed[:, :, -1:]).abs() < 1e-4
    assert (steady | (speed.abs() > 1)).all()  # but where it comes in on the other side


def test_the_ends_of_such_clips_are_decoded_as_they_were_given():
    """Without a past of standing still they would be visibly too bright."""
    vae = load_vae(WEIGHTS)
    for bucket in (b for b in BUCKETS if b.name in ("wide-picture", "wide-clip", "wide-before")):
        _, frames, _ = draw(bucket, 2, torch.Generator().manual_seed(5))
        with torch.no_grad():
            latents = vae.normalize(vae.encode(frames))
            latents[:, :, -bucket.tail :] = led.ending(vae, frames, bucket.tail)
            decoded = vae.decode(vae.denormalize(latents)).clamp(-1, 1)
        end = slice(bucket.frames - 4 * bucket.tail, bucket.frames)
        off = (decoded - frames)[:, :, end].mean((1, 2, 3, 4)).abs().max()
        assert off < 0.01 and psnr(decoded[:, :, end], frames[:, :, end]) > 28
    assert PAST > 0
