"""Scenes drawn wrong: how, where, and that training asks for the true ones."""

import pytest
import torch

from model.training import rendering, scenes, trajectories
from model.training.bending import REACH, Bend
from model.training.footage import draw
from model.training.pools import BUCKETS
from model.training.scenes import SHAPES
from model.training.train_transformer import velocity_to


def drawn(seed: int) -> Bend:
    return Bend.drawn(SHAPES, torch.Generator().manual_seed(seed))


def test_a_clip_is_drawn_wrong_in_its_object_alone():
    batch = scenes.sample(6, torch.Generator().manual_seed(1), aspect=1.0)
    batch.style[:] = scenes.STYLES.index("flat")
    batch.shape[:3] = torch.tensor([SHAPES.index(name) for name in ("car", "bird", "person")])
    true, coverage = rendering.render(batch, 9, 64, 64)
    wrong, other = rendering.render(batch, 9, 64, 64, bends=[drawn(seed) for seed in range(6)])
    changed = (true - wrong).abs().amax(1) > 0.01
    assert not (changed & (coverage == 0) & (other == 0)).any()
    shares = changed.float().sum((1, 2, 3)) / coverage.sum((1, 2, 3))
    assert shares.max() > 0.1
    x, y, r = trajectories.track(batch, torch.arange(9) / 16, 0.5, 1.0)
    grid = (torch.arange(64) + 0.5) / 32 - 1
    far = (grid[None, None, None] - x[..., None, None]).square()
    far = (far + (grid[None, None, :, None] - y[..., None, None]).square()).sqrt()
    assert not (changed & (far > 1.45 * 1.42 * REACH * r[..., None, None])).any()


def test_its_outline_changes_from_frame_to_frame():
    scene = scenes.sample(1, torch.Generator().manual_seed(1))
    scene.motion[:] = scenes.MOTIONS.index("still")
    scene.shape[:] = SHAPES.index("boat")
    _, true = rendering.render(scene, 17, 64, 64)
    _, wrong = rendering.render(scene, 17, 64, 64, bends=[drawn(3)])
    assert (true[:, 1:] - true[:, :1]).abs().max() < 1e-5
    assert (wrong[:, 8] - wrong[:, 0]).abs().max() > 0.5


def test_a_figure_that_is_drawn_wrong_has_its_parts_still():
    scene = scenes.sample(1, torch.Generator().manual_seed(1))
    scene.style[:] = scenes.STYLES.index("flat")
    scene.shape[:], scene.colour[:] = SHAPES.index("car"), scenes.COLOURS.index("red")
    for seed in range(4):
        frames, coverage = rendering.render(scene, 3, 96, 96, bends=[drawn(seed)])
        inside = frames[0][:, coverage[0] == 1]
        assert (inside[0] > 0.5).float().mean() > 0.3
        assert (inside.amax(0) < -0.6).sum() > 20  # its wheels


def test_the_same_seed_bends_alike_and_another_otherwise():
    u, v = torch.linspace(-1, 1, 8)[None, None], torch.linspace(-1, 1, 8)[None, :, None]
    seconds = torch.arange(3) / 16
    first, again, other = (drawn(seed).where(u, v, seconds) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.name)
def test_some_clips_are_drawn_wrong_as_well_where_their_bucket_asks_for_it(bucket):
    drawn = [draw(bucket, 1, torch.Generator().manual_seed(seed)) for seed in range(6)]
    wrong = [bent is not None for _, _, bent in drawn]
    assert any(wrong) == bucket.bent and not all(wrong)
    assert all(bent is None or bent.shape == frames.shape for _, frames, bent in drawn)


def test_what_is_asked_for_leads_from_the_wrong_clip_to_the_true_one():
    generator = torch.Generator().manual_seed(0)
    true, wrong, noise = (torch.randn(2, 3, 4, 2, 2, generator=generator) for _ in range(3))
    sigma = torch.tensor([[0.0, 0.3, 0.6, 1.0], [0.05, 0.25, 0.9, 0.9]])
    level = sigma[:, None, :, None, None]
    wrong = torch.where(level < 0.2, true, wrong)
    mixed = torch.lerp(wrong, noise, level)
    asked = velocity_to(true, wrong, noise, sigma)
    assert torch.allclose(mixed - level * asked, true, atol=1e-5)
    assert torch.equal(velocity_to(true, true, noise, sigma), noise - true)
