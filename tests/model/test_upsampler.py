"""Frames made larger by the network that a checkpoint brings."""

import pytest
import torch

from model import Pipeline, Request
from model.canvas import Canvas, from_uint8
from model.checkpoint import load_upsampler
from model.training import rendering
from model.training.__main__ import WEIGHTS
from model.training.cases import case, psnr, to_image
from model.training.train_upsampler import Maker, loss_of
from model.upsampler import Upsampler, UpsamplerConfig


@pytest.fixture(scope="module")
def upsampler():
    torch.manual_seed(0)
    return Upsampler(UpsamplerConfig(width=4, num_layers=1)).requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def shipped():
    return load_upsampler(WEIGHTS / "upsampler", UpsamplerConfig())


@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 24), (16, 23), (17, 23)])
def test_a_picture_becomes_as_large_as_was_asked_for(upsampler, height, width):
    frames = torch.rand(1, 3, 2, height, width) * 2 - 1
    large = upsampler.enlarge(frames, Canvas.of(101, 67, 32))
    assert (1, 3, 2, 67, 101) == tuple(large.shape)
    assert -1 <= large.min() < large.max() <= 1


def test_frames_are_enlarged_one_by_one(upsampler):
    frames = torch.rand(1, 3, 10, 16, 24) * 2 - 1
    canvas = Canvas.of(100, 66, 32)
    whole = upsampler.enlarge(frames, canvas)
    parts = [
        upsampler.enlarge(frames[:, :, i : i + 1], canvas, frames[:, :, max(0, i - 8) : i])
        for i in range(10)
    ]
    assert torch.equal(whole, torch.cat(parts, 2))


def test_a_frame_depends_on_those_before_it_and_on_no_others(upsampler):
    frames = torch.rand(1, 3, 12, 16, 24) * 2 - 1
    canvas = Canvas.of(100, 66, 32)
    whole = upsampler.enlarge(frames, canvas)[:, :, 10]
    for changed, matters in ((1, False), (2, True), (9, True), (11, False)):
        others = frames.clone()
        others[:, :, changed] *= -1
        assert torch.equal(whole, upsampler.enlarge(others, canvas)[:, :, 10]) != matters


def test_what_stands_still_under_noise_is_steadied_and_what_moves_is_not_smeared(shipped):
    """A square that stands still, and one that jumps aside in the last frame."""
    generator = torch.Generator().manual_seed(0)
    scene = -torch.ones(1, 3, 9, 96, 160)
    scene[..., 30:60, 40:70] = 0.5
    scene[:, :, :8, 30:60, 100:130] = 0.5
    scene[:, :, 8:, 30:60, 115:145] = 0.5
    noisy = scene + 0.05 * torch.randn(scene.shape, generator=generator)
    pictures = noisy[0].transpose(0, 1).flip(0)[None]
    steady, last = shipped.steady(pictures)[0], scene[0, :, -1]
    still, gone = (slice(32, 58), slice(42, 68)), (slice(32, 58), slice(100, 112))
    errors = [(picture - last).abs() for picture in (steady, noisy[0, :, -1])]
    assert errors[0][:, *still].mean() < 0.6 * errors[1][:, *still].mean()
    assert errors[0][:, *gone].mean() < 0.1


def test_what_is_in_a_picture_stays_where_it_is(shipped):
    """A square of other colour, whose middle is the same before and after."""
    frames = -torch.ones(1, 3, 1, 160, 256)
    frames[..., 40:70, 100:150] = 1
    large = shipped.enlarge(frames, Canvas.of(1024, 640, 32))
    rows, columns = (large[0, 0, 0] > 0).nonzero().float().mean(0).tolist()
    assert rows == pytest.approx(4 * 55 - 0.5, abs=1)
    assert columns == pytest.approx(4 * 125 - 0.5, abs=1)


def test_what_is_given_at_full_size_is_at_the_ends_of_an_enlarged_clip():
    asked = case(2, 320, 512)
    truth = rendering.render(asked.scene, 33, 320, 512)[0][0]
    shown = ((truth + 1) * 127.5).round().byte().permute(1, 2, 3, 0)
    size = {"prompt": asked.prompt, "width": 512, "height": 320}
    requests = {
        "pictures": Request(
            **size, frames=9, image=to_image(truth[:, 0]), last_image=to_image(truth[:, 8])
        ),
        "before": Request(**size, frames=8, before=shown[:9]),
        "after": Request(**size, frames=9, after=shown[8:]),
    }
    pipeline = Pipeline.load(WEIGHTS)
    clips = {name: torch.cat(list(pipeline.generate(r))) for name, r in requests.items()}
    made = {name: from_uint8(clip)[0] for name, clip in clips.items()}
    assert psnr(made["pictures"][:, 0], truth[:, 0]) > 40
    assert psnr(made["pictures"][:, -1], truth[:, 8]) > 30
    usual = float((truth[:, 1:] - truth[:, :-1]).abs().mean())
    for name, nearest in (("before", 0), ("after", -1)):
        assert float((made[name][:, nearest] - truth[:, 8]).abs().mean()) < 2 * usual + 0.02


@pytest.mark.parametrize("level", [-0.9, 0.0, 0.9])
def test_a_plain_picture_stays_plain_up_to_its_edges(shipped, level):
    large = shipped.enlarge(torch.full((1, 3, 1, 96, 160), level), Canvas.of(640, 384, 32))
    assert (large - level).abs().max() < 0.05


def test_the_shipped_one_draws_what_is_there_better_than_interpolation_does(shipped):
    maker = Maker(WEIGHTS, shipped.config.past_frames)
    totals: dict[str, float] = {}
    for seed in range(8):
        generator = torch.Generator().manual_seed(9_000_000 + seed)
        small, large = (patch.float() / 127.5 - 1 for patch in maker.patches(generator))
        for name, value in loss_of(shipped, small, large).items():
            totals[name] = totals.get(name, 0.0) + float(value)
    assert totals["error"] < 0.95 * totals["interpolated"]
