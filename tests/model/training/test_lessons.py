"""What the steps of the transformer's training show."""

from collections import Counter

import pytest
import torch

from model.training.latents import BUCKETS, LONG, Pool, new_pools, think
from model.training.lessons import beside, draw_clean, draw_lesson, draw_level
from model.training.scenes import OBJECTS


@pytest.fixture(scope="module")
def pools() -> list[Pool]:
    pools = new_pools(16, 200, "cpu")
    for k, pool in enumerate(pools):
        idea = think(k, 8, seed=k)
        t, h, w = BUCKETS[k].latent_size
        pool.add(idea, torch.randn(8, 16, t, h, w), torch.zeros(8, OBJECTS, t, h // 2, w // 2))
    return pools


def test_steps_show_stills_beginnings_and_windows_from_the_middle_of_longer_clips(pools):
    lengths, own, silent, all_clips = Counter[int](), 0, 0, 0
    for seed in range(400):
        lesson = draw_lesson(300, pools, torch.Generator().manual_seed(seed))
        b, frames = len(lesson.clips), lesson.clips.latents.shape[2]
        assert (b, frames) == tuple(lesson.clean.shape)
        assert frames == lesson.clips.coverage.shape[2]
        assert not lesson.clean.all(1).any()
        lengths[frames] += 1
        assert not (lesson.opens and lesson.own is not None)
        if lesson.own is not None:
            own += 1
            assert lesson.clean.any(1).all() and lesson.own.max() < 1
        silent += int((~lesson.spoken).sum())
        all_clips += b
    assert lengths[1] > 50 and lengths[3] > 20 and lengths[7] > 60 and lengths[17] > 40
    assert {4, 5, 6} & lengths.keys() and 17 == max(lengths)
    assert own > 10
    assert 0.05 < silent / all_clips < 0.15


def test_a_step_has_about_the_tokens_that_it_is_given(pools):
    for seed in range(50):
        lesson = draw_lesson(4200, pools, torch.Generator().manual_seed(seed))
        tokens = lesson.clips.coverage[:, 0].numel()
        assert 1400 < tokens <= 4200


def test_noise_levels_cover_all_and_lean_to_where_the_prompt_decides():
    levels = draw_level(20_000, torch.Generator().manual_seed(0))
    assert 0 <= levels.min() and levels.max() == 1
    assert 0.08 < (levels > 0.95).float().mean() < 0.25
    assert (levels > 0.5).float().mean() > 0.6
    assert (levels < 0.3).float().mean() > 0.08


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.name)
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_clip_that_does_not_open_always_has_some_given_frames_and_never_all(bucket, goes_on):
    generator = torch.Generator().manual_seed(1)
    for t in (bucket.latent_size[0], bucket.latent_size[0] - 3):
        clean = draw_clean(200, t, bucket, generator, goes_on=goes_on)
        assert not clean.all(1).any()
        if bucket.tail:
            assert clean[:, -bucket.tail :].all()
        elif goes_on and not bucket.detail:
            assert clean.any(1).all()
        if bucket.frames == LONG and goes_on and not bucket.tail:
            assert 0.3 < (clean.sum(1) == 4).float().mean() < 0.7


def test_what_is_beside_a_given_frame_is_known():
    clean = torch.tensor([[True, False, False, False, True], [False] * 5])
    assert [[False, True, False, True, False], [False] * 5] == beside(clean).tolist()
