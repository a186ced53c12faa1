"""Clips that are drawn, encoded and kept while training runs."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from model.training import latents, scenes
from model.training.__main__ import WEIGHTS
from model.training.cases import psnr
from model.training.latents import BUCKETS, SAID, Bucket, Ideas, Pool, new_pools, think
from model.training.rendering import render
from model.training.weights import load_vae

KINDS = {bucket.name: k for k, bucket in enumerate(BUCKETS)}
WIDE = KINDS["wide"]


@pytest.fixture(scope="module")
def vae():
    return load_vae(WEIGHTS)


def add(pool: Pool, k: int, seed: int, count: int = 3):
    """Ideas in a pool, with latents that say which they are."""
    idea = think(k, count, seed)
    t, h, w = BUCKETS[k].latent_size
    drawn = torch.full((count, 16, t, h, w), float(seed))
    pool.add(idea, drawn, torch.full((count, scenes.OBJECTS, t, h // 2, w // 2), 0.2))
    return idea


def test_an_idea_comes_from_its_seed_alone():
    one, other, again = think(WIDE, 2, 1), think(WIDE, 2, 2), think(WIDE, 2, 1)
    assert torch.equal(one.ids, again.ids) and torch.equal(one.path.x, again.path.x)
    assert not torch.equal(one.ids, other.ids)
    assert one.ids.shape[:2] == (2, SAID)


def test_several_processes_think_of_what_one_would_in_the_proportions_of_the_buckets():
    ideas = list(itertools.islice(Ideas(2_000_000, seed=3), 60))
    counts = torch.zeros(len(BUCKETS))
    for idea in ideas:
        counts[idea.bucket] += len(idea.scenes)
    shares = torch.tensor([bucket.share for bucket in BUCKETS])
    assert torch.allclose(counts / counts.sum(), shares / shares.sum(), atol=0.06)
    data = torch.utils.data.DataLoader(Ideas(2_000_000, seed=3), batch_size=None, num_workers=2)
    for ours, theirs in zip(ideas[:6], data, strict=False):
        assert torch.equal(ours.ids, theirs.ids)


def test_a_full_pool_gives_up_its_oldest_clips_and_knows_which_go_on():
    pool = Pool(Bucket("few", 160, 256, 1.0), 16, 6, "cpu")
    kept = [add(pool, WIDE, seed) for seed in range(4)]
    assert 6 == len(pool) and 12 == pool.drawn
    generator = torch.Generator().manual_seed(0)
    clips = pool.sample(100, generator)
    assert {2.0, 3.0} == set(clips.latents[:, 0, 0, 0, 0].tolist())
    expected = torch.cat([idea.scenes.shape for idea in kept[2:]])
    assert all(any(torch.equal(row, one) for one in expected) for row in clips.labels["shape"])
    assert torch.allclose(clips.coverage, torch.tensor(0.2), atol=0.01)
    pool.later[:] = torch.tensor([False, True, False, False, False, False])
    assert 1 == len(pool.sample(50, generator, later=True).labels["shape"].unique(dim=0))


def test_what_is_kept_is_what_was_drawn(vae):
    idea = think(WIDE, 2, 5)
    made, coverage = latents.draw(vae, idea, "cpu")
    frames, seen = render(idea.scenes, 25, 160, 256, length=idea.length, path=idea.path)
    with torch.no_grad():
        decoded = vae.decode(vae.denormalize(made)).clamp(-1, 1)
    assert psnr(decoded, frames) > 25
    assert (2, scenes.OBJECTS, 7, 5, 8) == tuple(coverage.shape)
    assert torch.allclose(coverage[:, :, 0], F.avg_pool2d(seen[:, :, 0], 32), atol=1e-5)


@pytest.mark.parametrize("name", ["wide-picture", "wide-clip", "wide-before"])
def test_the_ends_of_clips_that_are_given_are_decoded_as_they_were(vae, name):
    """Without a past of standing still they would be visibly too bright."""
    k, idea = KINDS[name], think(KINDS[name], 2, 5)
    bucket = BUCKETS[k]
    made, _ = latents.draw(vae, idea, "cpu")
    frames, _ = render(idea.scenes, bucket.frames, 160, 256, length=idea.length, path=idea.path)
    with torch.no_grad():
        decoded = vae.decode(vae.denormalize(made)).clamp(-1, 1)
    end = slice(bucket.frames - 4 * bucket.tail, bucket.frames)
    off = (decoded - frames)[:, :, end].mean((1, 2, 3, 4)).abs().max()
    assert off < 0.015 and psnr(decoded[:, :, end], frames[:, :, end]) > 25


def test_a_window_of_a_large_picture_is_near_an_object():
    idea = think(KINDS["detail"], 6, 7)
    height, width = idea.picture
    assert height > 300 and idea.window is not None
    top, left = idea.window
    assert (top <= height - 160).all() and (left <= width - 256).all()
    _, coverage = render(
        idea.scenes, 25, height, width, length=idea.length, path=idea.path,
        window=(top, left, 160, 256),
    )  # fmt: skip
    assert (coverage.amax((1, 2, 3, 4)) > 0.5).float().mean() > 0.6


def test_pools_have_room_in_the_proportions_of_their_buckets():
    pools = new_pools(16, 2000, "cpu")
    assert 1900 < sum(pool.capacity for pool in pools) < 2100
    assert max(pools, key=lambda pool: pool.capacity) is pools[WIDE]
