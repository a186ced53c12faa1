"""Clips to learn from: drawn by CPU cores, said in words, and encoded into pools.

On a CPU a process beside the trainer does all of it (`start_filling`), into pools on disk. For a
GPU many processes draw, and the trainer encodes what they have drawn between its steps, into pools
in the GPU's memory (`Filling`). Clips of one number are always the same: an interrupted pool goes
on where it stopped, and another seed has other clips.
"""

import itertools
import math
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

import torch
import torch.multiprocessing
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from model.training import captions, led, pairs, reading, rendering, scenes, trajectories
from model.training.bending import Bend
from model.training.pools import BUCKETS, LONG, SAID, Bucket, Pool, records_of
from model.training.scenes import Scenes
from model.training.weights import load_vae
from model.vae import VAE

LATER = 0.25
# Share of the pairs in wide pictures that stand one above the other.
UPRIGHT = 0.2
# Tokens of a step for each frame that is drawn together with others, and the most of these, which
# bounds the memory.
TOKENS_A_FRAME, TOGETHER = 20, 800
# Share of a GPU's time, at most, that goes into encoding new clips.
ENCODING = 0.25


class Drawn(NamedTuple):
    """Clips of bucket number `k`, not yet encoded: plain tensors, which pass between processes."""

    k: int
    frames: Tensor  # [b, 3, f, h, w] uint8
    bent: Tensor  # the same drawn wrong, or nothing
    cells: Tensor  # [b, n, t, h, w] what share of each token each object covers
    records: Tensor  # [b, n, RECORD]
    ids: Tensor  # [b, SAID, l] int16, of their captions


def new_pools(channels: int, clips: int, *, folder: Path | None, device: str) -> list[Pool]:
    """Pools with room for so many clips' worth of tokens in all."""
    whole = sum(map(_wanted, BUCKETS))
    return [
        Pool(b, channels, max(64, round(clips * _wanted(b) / whole)), folder=folder, device=device)
        for b in BUCKETS
    ]


def _wanted(bucket: Bucket) -> float:
    """How many clips of a bucket are wanted, relative to others: a step shows as many more of them
    as they are shorter.
    """
    return bucket.share / bucket.latent_size[0]


def next_bucket(drawn: list[float]) -> int:
    """The bucket whose clips are shown most often, if so many were drawn of each."""
    return min(range(len(BUCKETS)), key=lambda k: (drawn[k] + 0.5) / _wanted(BUCKETS[k]))


def together(k: int, tokens: int) -> int:
    """How many clips of bucket `k` are drawn together, for steps of so many tokens."""
    # What is drawn wrong, and said, counts too.
    return max(1, min(TOGETHER, tokens // TOKENS_A_FRAME) // (BUCKETS[k].frames + 7))


def draw_batch(k: int, count: int, generator: torch.Generator, tokenizer: Tokenizer) -> Drawn:
    """Draw `count` clips of bucket `k`, and say what they show."""
    objects, frames, bent = draw(BUCKETS[k], count, generator)
    scenes_ = tuple(scene for scene, _ in objects)
    cells = F.avg_pool2d(torch.stack([cover for _, cover in objects], 1).flatten(0, 1), 32)
    first, rest = cells[:, :1], cells[:, 1:].unflatten(1, (-1, 4)).mean(2)
    cells = torch.cat([first, rest], 1).unflatten(0, (count, -1))
    said = [say(scenes_, generator) for _ in range(SAID)]
    ids = torch.stack([reading.read(tokenizer, texts) for texts in said], 1)
    wrong = torch.empty(0) if bent is None else _bytes(bent)
    return Drawn(k, _bytes(frames), wrong, cells, records_of(scenes_), ids)


def say(objects: tuple[Scenes, ...], generator: torch.Generator) -> list[str]:
    """A caption of each clip."""
    if len(objects) == 1:
        return captions.describe(objects[0], generator)
    return captions.describe_two(objects[0], objects[1], generator)


def _bytes(frames: Tensor) -> Tensor:
    return frames.add(1).mul_(127.5).round_().clamp_(0, 255).byte()


def draw(
    bucket: Bucket, count: int, generator: torch.Generator
) -> tuple[tuple[tuple[Scenes, Tensor], ...], Tensor, Tensor | None]:
    """Objects of a bucket with their coverage `[b, f, h, w]`, their clips `[b, 3, f, h, w]`, and
    the same drawn wrong.
    """
    h, w, f = bucket.height, bucket.width, bucket.frames

    def bends() -> list[Bend]:
        return [Bend.drawn(scenes.SHAPES, generator) for _ in range(count)]

    if bucket.objects == 2:
        later = LATER if f == LONG else 0
        both = pairs.sample(count, generator, aspect=w / h, later=later, upright=UPRIGHT)
        if f == LONG:
            both = pairs.last_long(both, f / 16, generator, w / h)
        frames, covers = pairs.render(both, f, h, w)
        bent = None
        if bucket.bent:
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
        batch = scenes.sample(count, generator, aspect=w / h, later=later)
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
    if bucket.bent:
        bent, _ = how(batch, f, bends=bends())
    return ((batch, coverage),), frames, bent


def _along(
    path: tuple[Tensor, Tensor, Tensor], height: int, width: int
) -> Callable[..., tuple[Tensor, Tensor]]:
    """`rendering.render` of whole pictures along a path."""
    return partial(rendering.render, height=height, width=width, path=path)


@torch.no_grad()
def encode(vae: VAE, pool: Pool, drawn: Drawn) -> None:
    """Put drawn clips into their pool, as normalised latents."""
    weight = next(vae.parameters())

    def pictures(frames: Tensor) -> Tensor:
        return frames.to(weight.device, non_blocking=True).to(weight.dtype).div_(127.5).sub_(1)

    def latents_of(frames: Tensor) -> Tensor:
        # Without gradients a clip passes group by group, which spares a CPU's caches; a GPU takes
        # all of it at once.
        with torch.set_grad_enabled(weight.is_cuda):
            return vae.normalize(vae.encode(frames).detach().float())

    frames = pictures(drawn.frames)
    latents = latents_of(frames)
    tail = pool.bucket.tail
    if tail:
        latents[:, :, -tail:] = led.ending(vae, frames, tail)
    bent = latents_of(pictures(drawn.bent)) if len(drawn.bent) else None
    pool.add(latents, bent, drawn.cells, drawn.records, drawn.ids)


def fill(
    folder: Path, vae_folder: Path, text: Path, *, tokens: int, clips: int, seed: int, parent: int
) -> None:
    """Draw clips into a folder's pools until `clips` exist, or the process `parent` is gone."""
    os.setsid()  # Ctrl-C is for the trainer, which ends this process
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as in `parallel.py`
    vae = load_vae(vae_folder).to(torch.bfloat16).requires_grad_(requires_grad=False)
    pools = new_pools(vae.config.z_dim, clips, folder=folder, device="cpu")
    tokenizer = reading.plain_tokenizer(text)
    while os.getppid() == parent:
        counts = [p.drawn for p in pools]
        if sum(counts) >= clips and min(counts) > 0:
            return
        k = next_bucket([float(count) for count in counts])
        generator = torch.Generator().manual_seed(seed * 7919 + k * 104_729 + pools[k].drawn)
        encode(vae, pools[k], draw_batch(k, together(k, tokens), generator, tokenizer))


def start_filling(
    folder: Path, vae_folder: Path, text: Path, *, tokens: int, clips: int, seed: int
) -> BaseProcess:
    """Fill the pools in a process of its own, which ends with this one."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=fill,
        args=(folder, vae_folder, text),
        kwargs={"tokens": tokens, "clips": clips, "seed": seed, "parent": os.getpid()},
        daemon=True,
        name="kinora-latents",
    )
    process.start()
    return process


def draw_on(
    drawn: "Queue[Drawn]", text: Path, *, tokens: int, seed: int, at: int, every: int
) -> None:
    """Draw clips without end, each `every`-th batch, in the proportions in which they are shown."""
    os.nice(10)  # a GPU must not wait for the process that feeds it
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as in `parallel.py`
    tokenizer = reading.plain_tokenizer(text)
    counts = [0.0] * len(BUCKETS)
    for number in itertools.count():
        k = next_bucket(counts)
        count = together(k, tokens)
        counts[k] += count
        if number % every == at:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
            drawn.put(draw_batch(k, count, generator, tokenizer))


class Filling:
    """Encodes what other processes draw, between a trainer's steps, in a bounded share of the time.

    The trainer never waits for a drawing, once it has begun: it is shown what there is.
    """

    def __init__(
        self,
        vae: VAE,
        pools: list[Pool],
        text: Path,
        *,
        tokens: int,
        seed: int,
        loaders: int,
    ) -> None:
        self.vae, self.pools, self.seconds = vae, pools, 0.0
        self.device = next(vae.parameters()).device
        context = torch.multiprocessing.get_context("spawn")
        self.arriving: Queue[Drawn] = context.Queue(2 * loaders)
        self.ready: queue.Queue[Drawn] = queue.Queue(4)
        self.processes = [
            context.Process(
                target=draw_on,
                args=(self.arriving, text),
                kwargs={"tokens": tokens, "seed": seed, "at": at, "every": loaders},
                daemon=True,
                name=f"kinora-drawing-{at}",
            )
            for at in range(loaders)
        ]
        for process in self.processes:
            process.start()
        threading.Thread(target=self._fetch, daemon=True).start()

    @property
    def drawn(self) -> int:
        """How many clips have been drawn so far."""
        return sum(pool.drawn for pool in self.pools)

    def once(self) -> None:
        """Encode the next clips; raises ValueError when a process that draws has ended."""
        drawn = None
        while drawn is None:
            if not all(process.is_alive() for process in self.processes):
                raise ValueError("a process that draws clips ended; its error is above")
            with suppress(queue.Empty):
                drawn = self.ready.get(timeout=1)
        self._settle()
        begun = time.monotonic()
        encode(self.vae, self.pools[drawn.k], drawn)
        self._settle()
        self.seconds += time.monotonic() - begun

    def until(self, clips: int) -> None:
        """Encode until there are so many clips, and some of every kind."""
        while self.drawn < clips or min(pool.drawn for pool in self.pools) == 0:
            self.once()
        self.seconds = 0.0  # its share is of what comes after these

    def go_on(self, elapsed: float) -> None:
        """Encode, if something is drawn and its share of the time so far has not been used."""
        if self.seconds < ENCODING * elapsed and not self.ready.empty():
            self.once()

    def close(self) -> None:
        """End the processes that draw."""
        for process in self.processes:
            process.terminate()
            process.join()

    def _fetch(self) -> None:
        """Bring what was drawn to where a GPU reads it fast."""
        while True:
            drawn = self.arriving.get()
            if self.device.type == "cuda":
                k, *tensors = drawn
                drawn = Drawn(k, *(tensor.pin_memory() for tensor in tensors))
            self.ready.put(drawn)

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
