"""What scenes there are, and which never."""

import torch

from model.training import rendering, scenes
from model.training.scenes import COLOURS, DULL, HELD_OUT, MOTIONS, ROUND, SHAPES, STYLES


def test_held_out_pairs_are_never_trained_on_and_are_all_that_is_held_out() -> None:
    generator = torch.Generator().manual_seed(5)
    for held_out in (False, True):
        batch = scenes.sample(2000, generator, held_out=held_out)
        pairs = {
            (SHAPES[s], COLOURS[c])
            for s, c in zip(batch.shape.tolist(), batch.colour.tolist(), strict=True)
        }
        assert pairs.isdisjoint(HELD_OUT) is not held_out
        if held_out:
            assert pairs == set(HELD_OUT)


def test_the_same_seed_gives_the_same_scenes() -> None:
    a = scenes.sample(4, torch.Generator().manual_seed(6))
    b = scenes.sample(4, torch.Generator().manual_seed(6))
    assert torch.equal(rendering.render(a, 2, 32, 32)[0], rendering.render(b, 2, 32, 32)[0])


def test_what_glows_is_never_dull_and_what_spins_never_round() -> None:
    batch = scenes.sample(3000, torch.Generator().manual_seed(7))
    glows, spins = batch.style == STYLES.index("neon"), batch.motion == MOTIONS.index("spin")
    assert glows.any() and spins.any()
    assert {COLOURS[k] for k in batch.colour[glows].tolist()} == set(COLOURS) - set(DULL)
    assert {SHAPES[k] for k in batch.shape[spins].tolist()} == set(SHAPES) - set(ROUND)
