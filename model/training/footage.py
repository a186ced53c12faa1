"""Footage to learn from: clips drawn for each bucket, whole or as windows of larger pictures, and
what is said of them.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from model.training import captions, led, pairs, reading, rendering, scenes, trajectories
from model.training.bending import Bend
from model.training.pools import BUCKETS, LONG, SAID, Bucket, records_of
from model.training.scenes import Scenes

#: Share of the clips that do not open with the first of their frames.
LATER = 0.25
# Share of the pairs in wide pictures that stand one above the other.
UPRIGHT = 0.2
# How often motions are shown, relative to each other, where all clips of a bucket may have any:
# what takes long to learn is shown more often, and what a still shows as well less.
LIVELY = {"orbit": 2.0, "zigzag": 2.5, "swing": 1.3, "bounce": 1.3, "pulse": 1.2, "still": 0.6}
# Share of the batches that are drawn wrong as well, where a bucket's are: it doubles their cost.
BENT_BATCHES = 0.5


class Drawn(NamedTuple):
    """Clips of bucket number `k`, not yet encoded: plain tensors, which pass between processes."""

    k: int
    frames: Tensor  # [b, 3, f, h, w] uint8
    bent: Tensor  # the same drawn wrong, or nothing
    cells: Tensor  # [b, n, t, h, w] what share of each token each object covers
    records: Tensor  # [b, n, RECORD]
    ids: Tensor  # [b, SAID, l] int16, of their captions


def draw_batch(k: int, count: int, generator: torch.Generator, tokenizer: Tokenizer) -> Drawn:
    """Draw `count` clips of bucket `k`, and say what they show."""
    objects, frames, bent = draw(BUCKETS[k], count, generator)
    scenes_ = tuple(scene for scene, _ in objects)
    cells = F.avg_pool2d(torch.stack([cover for _, cover in objects], 1).flatten(0, 1), 32)
    first, rest = cells[:, :1], cells[:, 1:].unflatten(1, (-1, 4)).mean(2)
    cells = torch.cat([first, rest], 1).unflatten(0, (count, -1))
    said = [say(scenes_, generator) for _ in range(SAID)]
    ids = torch.stack([reading.read(tokenizer, texts) for texts in said], 1)
    wrong = torch.empty(0) if bent is None else bytes_of(bent)
    return Drawn(k, bytes_of(frames), wrong, cells, records_of(scenes_), ids)


def say(objects: tuple[Scenes, ...], generator: torch.Generator) -> list[str]:
    """A caption of each clip."""
    if len(objects) == 1:
        return captions.describe(objects[0], generator)
    return captions.describe_two(objects[0], objects[1], generator)


def lively(batch: tuple[Scenes, ...], count: int, generator: torch.Generator) -> Tensor:
    """Which `count` of scenes of one object or more have motions as often as `LIVELY` says."""
    shares = torch.tensor([LIVELY.get(name, 1.0) for name in scenes.MOTIONS])
    odds = torch.stack([shares[scene.motion] for scene in batch]).prod(0)
    return torch.multinomial(odds, count, generator=generator)


def bytes_of(frames: Tensor) -> Tensor:
    """As bytes; the frames are used up."""
    return frames.add_(1).mul_(127.5).round_().clamp_(0, 255).byte()


def draw(
    bucket: Bucket, count: int, generator: torch.Generator
) -> tuple[tuple[tuple[Scenes, Tensor], ...], Tensor, Tensor | None]:
    """Objects of a bucket with their coverage `[b, f, h, w]`, their clips `[b, 3, f, h, w]`, and
    the same drawn wrong, if they are.
    """
    h, w, f = bucket.height, bucket.width, bucket.frames

    wider = count if f == 1 else 3 * count
    wrong = bucket.bent and float(torch.rand((), generator=generator)) < BENT_BATCHES

    def bends() -> list[Bend]:
        return [Bend.drawn(scenes.SHAPES, generator) for _ in range(count)]

    if bucket.objects == 2:
        later = LATER if f == LONG else 0
        both = pairs.sample(wider, generator, aspect=w / h, later=later, upright=UPRIGHT)
        index = lively(both, count, generator)
        both = (both[0].take(index), both[1].take(index))
        if f == LONG:
            both = pairs.last_long(both, f / 16, generator, w / h)
        frames, covers = pairs.render(both, f, h, w)
        bent = None
        if wrong:
            bent, _ = pairs.render(both, f, h, w, bends=(bends(), bends()))
        return tuple(zip(both, covers, strict=True)), frames, bent
    if bucket.tail:
        batch = scenes.sample(count, generator, aspect=w / h, later=0.5)
        if bucket.led:
            path = led.lead(batch, f, w / h, bucket.tail, generator)
            how = partial(_along(path, h, w), seconds=led.moments(f, bucket.tail))
        else:
            path = led.arrive(batch, f, w / h, bucket.tail)
            how = _along(path, h, w)
    elif not bucket.detail:
        later = 0.5 if f == LONG else LATER if f > 1 else 0
        batch = scenes.sample(wider, generator, aspect=w / h, later=later)
        batch = batch.take(lively((batch,), count, generator))
        if f == LONG:
            batch = trajectories.last_long(batch, f / 16, w / h)
        path = trajectories.track(batch, torch.arange(f) / 16, trajectories.OPENING_S, w / h)
        how = _along(path, h, w)
    else:
        size = 2.0 + 5.0 * float(torch.rand((), generator=generator))  # times the window's height
        height, width = round(h * size), round(h * size * 16 / 9)
        batch = scenes.sample(count, generator, aspect=width / height, later=LATER)
        length = trajectories.OPENING_S
        x, y, r = (
            v[:, 0]
            for v in trajectories.track(batch, torch.tensor([length / 2]), length, width / height)
        )
        angle = torch.rand(count, generator=generator) * 2 * math.pi
        far = torch.rand(count, generator=generator) * 1.6
        top = ((y + far * r * angle.sin() + 1) * height / 2 - h / 2).round().clamp(0, height - h)
        left = (x + far * r * angle.cos() + width / height) * height / 2 - w / 2
        window = (top, left.round().clamp(0, width - w), h, w)
        how = partial(rendering.render, height=height, width=width, window=window)
    frames, coverage = how(batch, f)
    bent = None
    if wrong:
        bent, _ = how(batch, f, bends=bends())
    return ((batch, coverage),), frames, bent


def _along(
    path: tuple[Tensor, Tensor, Tensor], height: int, width: int
) -> Callable[..., tuple[Tensor, Tensor]]:
    """`rendering.render` of whole pictures along a path."""
    return partial(rendering.render, height=height, width=width, path=path)
