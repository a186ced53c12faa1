"""Two objects in one scene: each as its own attributes say, in their places, in one caption."""

from dataclasses import replace

import pytest
import torch

from app.embedded import default_checkpoint
from model.training import captions, pairs
from model.training.figures import FIGURES
from model.training.filling import encode
from model.training.footage import draw_batch
from model.training.learner import TINY, Truth
from model.training.pools import BUCKETS, Clips, Pool
from model.training.reading import plain_tokenizer
from model.training.rendering import RGB
from model.training.scenes import (
    BACKGROUNDS,
    CLASHES,
    COLOURS,
    DULL,
    HELD_OUT,
    MOTIONS,
    ROUND,
    SHAPES,
    STYLES,
)
from model.training.trajectories import OPENING_S, track
from model.training.weights import load_vae

SIZES = ((160, 256), (192, 192), (256, 160))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_pair_shares_its_ground_and_style_and_has_two_colours_that_are_told_from_it(held_out):
    first, second = pairs.sample(500, generator(), held_out=held_out)
    for name in ("background", "style", "seed"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert (first.colour != second.colour).all()
    for scene in (first, second):
        for shape, colour, ground in zip(scene.shape, scene.colour, scene.background, strict=True):
            pair = (SHAPES[int(shape)], COLOURS[int(colour)])
            assert (pair in HELD_OUT) == held_out
            assert pair[1] not in CLASHES[BACKGROUNDS[int(ground)]]
    for scene in (first, second):
        assert set(scene.shape.tolist()) == set(range(len(SHAPES)))
        spins = scene.motion == MOTIONS.index("spin")
        assert not {SHAPES[k] for k in scene.shape[spins].tolist()} & set(ROUND)
        glows = scene.style == STYLES.index("neon")
        assert glows.any() and not {COLOURS[k] for k in scene.colour[glows].tolist()} & set(DULL)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_first_is_left_of_the_second_or_above_it_and_both_are_seen(height, width):
    pair = pairs.sample(12, generator(1), aspect=width / height)
    across = pairs.side_by_side(*pair)
    assert across.any() == (width >= height) and (~across).any() == (width <= height)
    frames, covers = pairs.render(pair, 25, height, width)
    middle = [cover[:, 12] for cover in covers]
    for i in range(12):
        axis, steps = (0, width) if across[i] else (1, height)
        first, second = (
            (cover[i].sum(axis) * torch.arange(steps)).sum() / cover[i].sum() for cover in middle
        )
        assert first < steps / 2 < second
        if STYLES[int(pair[0].style[i])] == "flat":
            for scene, cover in zip(pair, middle, strict=True):
                if SHAPES[int(scene.shape[i])] in FIGURES:
                    continue  # they have other colours as well
                colour = (RGB[scene.colour[i]] + scene.tint[i]).clamp(0, 1) * 2 - 1
                inside = cover[i] == 1
                assert torch.allclose(frames[i, :, 12][:, inside].mean(1), colour, atol=2e-2)


def test_the_first_hides_what_is_behind_it():
    pair = pairs.sample(1, generator(2))
    both = tuple(replace(scene, x=torch.zeros(1), y=torch.zeros(1)) for scene in pair)
    _, (above, below) = pairs.render(both, 1, 96, 96)
    assert above.max() == 1
    assert (above + below).max() <= 1


def test_some_pairs_in_wide_pictures_stand_one_above_the_other_where_that_is_wanted():
    across = pairs.side_by_side(*pairs.sample(300, generator(11), aspect=1.6, upright=0.2))
    assert 0.7 < across.float().mean() < 0.9


@pytest.mark.parametrize("aspect", [1.6, 1.0, 0.625])
def test_pairs_of_four_seconds_begin_apart_stay_in_sight_and_some_meet(aspect):
    pair = pairs.sample(300, generator(9), aspect=aspect)
    first, second = pairs.last_long(pair, 4.0, generator(10), aspect)
    assert torch.equal(pairs.side_by_side(first, second), pairs.side_by_side(*pair))
    seconds = torch.arange(0, 4, 1 / 16)
    paths = [track(scene, seconds, OPENING_S, aspect) for scene in (first, second)]
    (ax, ay, _), (bx, by, _) = paths
    across = pairs.side_by_side(first, second)
    assert (torch.where(across, (bx - ax)[:, 0], (by - ay)[:, 0]) > 0).all()
    for x, y, _ in paths:
        seen = ((x.abs() < aspect) & (y.abs() < 1)).float()
        assert (seen[:, 0] == 1).all()
        assert seen.mean() > 0.85
    near = ((ax - bx) ** 2 + (ay - by) ** 2).sqrt().amin(1) < 0.3
    assert 0.25 < near.float().mean() < 0.6


def test_what_is_said_of_two_names_both_and_how_they_stand():
    pair = pairs.sample(400, generator(3))
    texts = captions.describe_two(*pair, generator(4), complete=True)
    across = pairs.side_by_side(*pair)
    told = 0
    for i, text in enumerate(texts):
        places = []
        for scene in pair:
            words = (SHAPES, scene.shape), (COLOURS, scene.colour)
            names = [table[int(index[i])] for table, index in words]
            gray = STYLES[int(scene.style[i])] in ("bw", "sketch")
            for name in names[: 1 if gray else 2]:
                said = captions.WORDS[name] + captions.RARER[name]
                found = [text.lower().find(word) for word in said if word in text.lower()]
                assert found, (name, text)
            places.append(captions.WORDS[names[0]] + captions.RARER[names[0]])
        if "to the left of" in text or (" above " in text and "the waves" not in text):
            told += 1
            assert across[i] == ("to the left of" in text)
    assert told > 15


def test_pools_of_pairs_know_what_is_said_of_both_and_which_token_is_whose():
    vae, text = load_vae(default_checkpoint()), default_checkpoint()
    k = next(k for k, bucket in enumerate(BUCKETS) if bucket.name == "wide-pair")
    pool = Pool(BUCKETS[k], TINY.in_channels, 8)
    encode(vae, pool, draw_batch(k, 4, generator(5), plain_tokenizer(text)))
    clips = pool.sample(4, generator(6))
    (first, above), (second, below) = clips.objects
    assert first.colour.tolist() != second.colour.tolist()
    assert above.shape == below.shape == (4, 7, 5, 8)
    assert clips.coverage.max() <= 1.01 and (above.mean() > 0.01) and (below.mean() > 0.01)
    assert ((clips.ids > 1).sum(1) > 3).all()


def test_the_throw_away_head_asks_of_each_token_what_covers_it():
    """A head that reads from tokens which object is theirs is right, and wrong of swapped ones."""
    pair = pairs.sample(1, generator(8))
    left, right = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 4)
    left[..., 0], right[..., 3] = 1, 1
    latents = torch.zeros(1, TINY.in_channels, 1, 2, 8)
    ids, later = torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, dtype=torch.bool)
    clips, swapped = (
        Clips(latents, tuple(zip(pair, covers, strict=True)), latents, ids, later, later)
        for covers in ((left, right), (right, left))
    )
    tokens = torch.eye(4)[None] * 4
    head = Truth(4)
    with torch.no_grad():
        head.out.weight.zero_()
        for token, scene in ((0, pair[0]), (3, pair[1])):
            head.out.weight[1 + len(SHAPES) + int(scene.colour), token] = 3
        noisy = torch.ones(1, 1, dtype=torch.bool)
        assert head.loss(tokens, clips, noisy) < head.loss(tokens, swapped, noisy) - 0.1
