"""Pools of clips: what lies in them, however large they are made."""

import torch

from model.training.language import MAX_LENGTH
from model.training.pools import BUCKETS, RECORD, SAID, Pool


def clips(count: int) -> tuple[torch.Tensor, None, torch.Tensor, torch.Tensor, torch.Tensor]:
    t, h, w = BUCKETS[0].latent_size
    ids = torch.ones(count, SAID, MAX_LENGTH)
    cells = torch.ones(count, 1, t, h // 2, w // 2)
    return torch.ones(count, 2, t, h, w), None, cells, torch.ones(count, 1, RECORD), ids


def test_a_full_pool_that_is_made_larger_gives_clips_that_were_drawn_and_no_others(tmp_path):
    pool = Pool(BUCKETS[0], 2, 8, folder=tmp_path)
    pool.add(*clips(6))
    pool.add(*clips(6))  # the last ones in place of the first
    assert 12 == Pool(BUCKETS[0], 2, 8, folder=tmp_path).drawn
    larger = Pool(BUCKETS[0], 2, 16, folder=tmp_path)
    for drawn in (8, 11):
        assert drawn == larger.drawn
        assert larger.sample(64, torch.Generator().manual_seed(0)).latents.all()
        larger.add(*clips(3))
