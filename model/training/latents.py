"""A growing pool of encoded clips on disk: a process renders and encodes, the trainer reads.

Every bucket (a picture size) has one memory-mapped file of fixed-size records and a count. Clip i
of a pool is drawn from seed i, so an interrupted pool goes on where it stopped.
"""

import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.training import led, pairs, scenes
from model.training.bending import Bend
from model.training.scenes import Scenes
from model.training.weights import load_vae
from model.vae import VAE


class Bucket(NamedTuple):
    """Clips of one size in pixels.

    `detail` ones are windows of pictures up to 1080p. Of those with a `tail`, the last latent
    frames, so many, are as a request gives them; clips that are `led` were on another way before,
    the others always moved as they do there. Clips of `LONG` frames are as long as a window;
    shorter ones cost less, and there the shape is learnt. Most show one of the `objects`, some two.
    """

    name: str
    height: int
    width: int
    share: float
    detail: bool = False
    tail: int = 0
    frames: int = 25
    led: bool = True
    objects: int = 1

    @property
    def bent(self) -> bool:
        """Whether each clip is drawn wrong as well (`bending`)."""
        return not self.tail and not (self.objects == 2 and self.frames == LONG)


LONG = 65
BUCKETS = (
    Bucket("wide", 160, 256, 0.22),
    Bucket("square", 192, 192, 0.12),
    Bucket("tall", 256, 160, 0.12),
    Bucket("detail", 160, 256, 0.09, detail=True),
    Bucket("wide-picture", 160, 256, 0.02, tail=1),
    Bucket("square-picture", 192, 192, 0.01, tail=1),
    Bucket("wide-clip", 160, 256, 0.03, tail=2, frames=33),
    Bucket("square-clip", 192, 192, 0.02, tail=2, frames=33),
    Bucket("wide-before", 160, 256, 0.03, tail=2, frames=33, led=False),
    Bucket("square-before", 192, 192, 0.02, tail=2, frames=33, led=False),
    Bucket("wide-long", 160, 256, 0.10, frames=LONG),
    Bucket("square-long", 192, 192, 0.06, frames=LONG),
    Bucket("tall-long", 256, 160, 0.06, frames=LONG),
    Bucket("wide-long-picture", 160, 256, 0.02, tail=1, frames=LONG),
    Bucket("square-long-picture", 192, 192, 0.01, tail=1, frames=LONG),
    Bucket("wide-long-clip", 160, 256, 0.04, tail=2, frames=LONG),
    Bucket("square-long-clip", 192, 192, 0.02, tail=2, frames=LONG),
    Bucket("wide-long-before", 160, 256, 0.02, tail=2, frames=LONG, led=False),
    Bucket("wide-pair", 160, 256, 0.34, objects=2),
    Bucket("square-pair", 192, 192, 0.15, objects=2),
    Bucket("tall-pair", 256, 160, 0.15, objects=2),
    Bucket("wide-pair-long", 160, 256, 0.18, frames=LONG, objects=2),
    Bucket("square-pair-long", 192, 192, 0.06, frames=LONG, objects=2),
    Bucket("tall-pair-long", 256, 160, 0.08, frames=LONG, objects=2),
)
LATER = 0.25
# Share of the pairs in wide pictures that stand one above the other.
UPRIGHT = 0.2
FIELDS = [f.name for f in fields(Scenes)]


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips from the pool: normalised latents `[b, c, t, h, w]`, each object's scenes with its
    token coverage `[b, t, h, w]`, and the latents of the same scenes drawn wrong, if their bucket
    has them (else the same).
    """

    latents: Tensor
    objects: tuple[tuple[Scenes, Tensor], ...]
    bent: Tensor

    @property
    def scenes(self) -> Scenes:
        """The first objects'."""
        return self.objects[0][0]

    @property
    def coverage(self) -> Tensor:
        """What share of each token an object covers, `[b, t, h, w]`."""
        return torch.stack([coverage for _, coverage in self.objects]).sum(0)

    def to(self, device: torch.device | str) -> "Clips":
        """The same clips on another device."""
        objects = tuple((scenes.to(device), cover.to(device)) for scenes, cover in self.objects)
        return Clips(self.latents.to(device), objects, self.bent.to(device))

    def between(self, start: int, stop: int) -> "Clips":
        """Their latent frames `start` to `stop`."""
        latents, bent = (x[:, :, start:stop] for x in (self.latents, self.bent))
        objects = tuple((scenes, cover[:, start:stop]) for scenes, cover in self.objects)
        return Clips(latents, objects, bent)


class Pool:
    """The records of one bucket; `capacity` bounds its file, older records are then replaced."""

    def __init__(
        self, folder: Path, bucket: Bucket, channels: int, capacity: int, mode: Literal["r", "r+"]
    ) -> None:
        t, h, w = (bucket.frames - 1) // 4 + 1, bucket.height // 16, bucket.width // 16
        self.latent_shape, self.bent, n = (channels, t, h, w), bucket.bent, bucket.objects
        record = np.dtype(
            [
                ("latents", np.uint16, self.latent_shape),
                ("bent", np.uint16, self.latent_shape if bucket.bent else (0,)),
                ("coverage", np.uint8, (n, t, h // 2, w // 2)),
                ("scene", np.float32, (n, len(FIELDS) + 2)),
            ]
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{bucket.name}.bin"
        self.count_path = count_path(folder, bucket)
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(record.itemsize * capacity)
        self.records = np.memmap(path, dtype=record, mode=mode, shape=(capacity,))
        self.capacity = capacity

    @property
    def drawn(self) -> int:
        """How many clips have been drawn so far."""
        return int(self.count_path.read_text()) if self.count_path.exists() else 0

    def add(self, clips: Clips) -> None:
        """Store a batch after the last one."""
        first = self.drawn
        for i in range(len(clips.scenes)):
            slot = self.records[(first + i) % self.capacity]
            slot["latents"] = clips.latents[i].bfloat16().view(torch.uint16).numpy()
            if self.bent:
                slot["bent"] = clips.bent[i].bfloat16().view(torch.uint16).numpy()
            for k, (scene, coverage) in enumerate(clips.objects):
                slot["coverage"][k] = (coverage[i] * 255).round().byte().numpy()
                slot["scene"][k] = torch.cat(
                    [getattr(scene, name)[i].float().view(-1) for name in FIELDS]
                ).numpy()
        partial = self.count_path.with_suffix(".part")
        partial.write_text(str(first + len(clips.scenes)))
        partial.replace(self.count_path)

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        *,
        opening: bool | None = None,
        odds: dict[str, float] | None = None,
    ) -> Clips:
        """Draw `count` records at most; `opening` ones begin at their scene's beginning.

        `odds` are the probabilities, by shape, with which each object of a drawn record is kept.
        """
        available = min(self.drawn, self.capacity)
        index = torch.randint(available, (count * 16 + 32,), generator=generator).numpy()
        if odds is not None:
            shapes = self.records["scene"][index, :, FIELDS.index("shape")].astype(int)
            likely = np.array([odds[name] for name in scenes.SHAPES])[shapes].prod(1)
            index = index[torch.rand(len(index), generator=generator).numpy() < likely]
        if opening is not None:
            fits = (self.records["scene"][index, 0, -1] == 0) == opening
            index = index[fits] if fits.any() else index
        rows = self.records[index[:count]]
        latents, bent = (
            torch.from_numpy(rows[name].copy()).view(torch.bfloat16) for name in ("latents", "bent")
        )
        flat = torch.from_numpy(rows["scene"].copy()).unbind(1)
        coverage = (torch.from_numpy(rows["coverage"].copy()).float() / 255).unbind(1)
        objects = tuple(zip(map(_scenes, flat), coverage, strict=True))
        return Clips(latents, objects, bent if self.bent else latents)


def _scenes(rows: Tensor) -> Scenes:
    """Scenes from their records."""
    columns, at = [], 0
    for name in FIELDS:
        size = 3 if name == "tint" else 1
        value = rows[:, at : at + size]
        value = value if name == "tint" else value[:, 0]
        whole = name in ("shape", "colour", "motion", "background", "style", "size", "speed")
        columns.append(value.long() if whole else value)
        at += size
    return Scenes(*columns)


def count_path(folder: Path, bucket: Bucket) -> Path:
    """The file that says how many clips of a bucket have been drawn."""
    return folder / f"{bucket.name}.count"


def draw(
    bucket: Bucket, count: int, generator: torch.Generator, device: str = "cpu"
) -> tuple[tuple[tuple[Scenes, Tensor], ...], Tensor, Tensor | None]:
    """Objects of a bucket with their coverage `[b, f, h, w]`, their clips, and the same drawn
    wrong, on a device.
    """
    h, w, f = bucket.height, bucket.width, bucket.frames

    def bends() -> list[Bend]:
        return [Bend.drawn(scenes.SHAPES, generator) for _ in range(count)]

    if bucket.objects == 2:
        later = LATER if f == LONG else 0
        both = pairs.sample(count, generator, aspect=w / h, later=later, upright=UPRIGHT)
        if f == LONG:
            both = pairs.last_long(both, f / 16, generator, w / h)
        first, second = (scene.to(device) for scene in both)
        frames, covers = pairs.render((first, second), f, h, w)
        bent = None
        if bucket.bent:
            bent, _ = pairs.render((first, second), f, h, w, bends=(bends(), bends()))
        return tuple(zip(both, covers, strict=True)), frames, bent
    if bucket.tail:
        batch = scenes.sample(count, generator, aspect=w / h, later=0.5)
        if bucket.led:
            path = led.lead(batch, f, w / h, bucket.tail, generator)
        else:
            path = led.arrive(batch, f, w / h, bucket.tail)
        how = _along(path, h, w, device)
    elif not bucket.detail:
        later = 0.5 if f == LONG else LATER
        batch = scenes.sample(count, generator, aspect=w / h, later=later)
        if f == LONG:
            batch = scenes.last_long(batch, f / 16, w / h)
        path = scenes.track(batch, torch.arange(f) / 16, scenes.OPENING_S, w / h)
        how = _along(path, h, w, device)
    else:
        size = 2.0 + 5.0 * float(torch.rand((), generator=generator))  # times the window's height
        height, width = round(h * size), round(h * size * 16 / 9)
        batch = scenes.sample(count, generator, aspect=width / height, later=LATER)
        length = scenes.OPENING_S
        x, y, r = (
            v[:, 0] for v in scenes.track(batch, torch.tensor([length / 2]), length, width / height)
        )
        angle = torch.rand(count, generator=generator) * 2 * math.pi
        far = torch.rand(count, generator=generator) * 1.6
        top = ((y + far * r * angle.sin() + 1) * height / 2 - h / 2).round().clamp(0, height - h)
        left = (x + far * r * angle.cos() + width / height) * height / 2 - w / 2
        window = (top, left.round().clamp(0, width - w), h, w)
        how = partial(scenes.render, height=height, width=width, window=window)
    frames, coverage = how(batch.to(device), f)
    bent = None
    if bucket.bent:
        bent, _ = how(batch.to(device), f, bends=bends())
    return ((batch, coverage),), frames, bent


def _along(
    path: tuple[Tensor, Tensor, Tensor], height: int, width: int, device: str
) -> Callable[..., tuple[Tensor, Tensor]]:
    """`scenes.render` of whole pictures along a path."""
    x, y, r = (v.to(device) for v in path)
    return partial(scenes.render, height=height, width=width, path=(x, y, r))


@torch.no_grad()
def encode(
    vae: VAE,
    bucket: Bucket,
    objects: tuple[tuple[Scenes, Tensor], ...],
    frames: Tensor,
    bent: Tensor | None,
) -> Clips:
    """Frames as normalised latents, with the coverage of each token."""

    def latents_of(frames: Tensor) -> Tensor:
        return vae.normalize(vae.encode(frames.to(dtype)).float())

    dtype = next(vae.parameters()).dtype
    latents = latents_of(frames)
    if bucket.tail:
        latents[:, :, -bucket.tail :] = led.ending(vae, frames.to(dtype), bucket.tail)
    covered = []
    for scene, coverage in objects:
        cells = F.avg_pool2d(coverage, 32)
        first, rest = cells[:, :1], cells[:, 1:].unflatten(1, (-1, 4)).mean(2)
        covered.append((scene, torch.cat([first, rest], 1).cpu()))
    latents = latents.cpu()
    wrong = latents if bent is None else latents_of(bent).cpu()
    return Clips(latents, tuple(covered), wrong)


def fill(
    folder: Path, vae_folder: Path, *, clips: int, seed: int, device: str, parent: int
) -> None:
    """Draw clips into all buckets until `clips` exist in total, or the process `parent` is gone."""
    os.setsid()  # Ctrl-C is for the trainer, which ends this process
    torch.set_num_threads(1)
    vae = load_vae(vae_folder).to(device, torch.bfloat16)
    pools = [Pool(folder, bucket, vae.config.z_dim, clips, "r+") for bucket in BUCKETS]
    while sum(p.drawn for p in pools) < clips and os.getppid() == parent:
        drawn = [p.drawn / b.share for p, b in zip(pools, BUCKETS, strict=True)]
        k = drawn.index(min(drawn))
        generator = torch.Generator().manual_seed(seed * 7919 + k * 104_729 + pools[k].drawn)
        count = 200 // BUCKETS[k].frames  # at a time, which bounds the memory
        pools[k].add(encode(vae, BUCKETS[k], *draw(BUCKETS[k], count, generator, device)))


def start_filling(
    folder: Path, vae_folder: Path, *, clips: int, seed: int, device: str
) -> BaseProcess:
    """Fill the pool in a process of its own, which ends with this one."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=fill,
        args=(folder, vae_folder),
        kwargs={"clips": clips, "seed": seed, "device": device, "parent": os.getpid()},
        daemon=True,
        name="kinora-latents",
    )
    process.start()
    return process
