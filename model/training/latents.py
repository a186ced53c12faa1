"""Clips to learn from: drawn, encoded, and kept where the training computes.

Other processes think of scenes and say what they show (`Ideas`); the trainer draws and encodes them
on its device, between its steps, into one `Pool` for each kind of clip. Nothing is stored on disk,
and nothing ever repeats: idea i of a kind comes from seed i.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from model.training import captions, language, led, scenes
from model.training.rendering import render
from model.training.scenes import OBJECTS, Scenes
from model.training.tracks import Path, track
from model.vae import VAE


class Bucket(NamedTuple):
    """Clips of one size in pixels.

    `detail` ones are windows of pictures up to 1080p. Of those with a `tail`, the last latent
    frames, so many, are as a request gives them; clips that are `led` were on another way before,
    the others always moved as they do there. Clips of `LONG` frames are as long as a window;
    shorter ones cost less, and there the shape is learnt.
    """

    name: str
    height: int
    width: int
    share: float
    detail: bool = False
    tail: int = 0
    frames: int = 25
    led: bool = True

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns."""
        return (self.frames - 1) // 4 + 1, self.height // 16, self.width // 16


LONG = 65
BUCKETS = (
    Bucket("wide", 160, 256, 0.27),
    Bucket("square", 192, 192, 0.14),
    Bucket("tall", 256, 160, 0.12),
    Bucket("detail", 160, 256, 0.06, detail=True),
    Bucket("wide-picture", 160, 256, 0.03, tail=1),
    Bucket("square-picture", 192, 192, 0.01, tail=1),
    Bucket("wide-clip", 160, 256, 0.03, tail=2, frames=33),
    Bucket("square-clip", 192, 192, 0.01, tail=2, frames=33),
    Bucket("wide-before", 160, 256, 0.03, tail=2, frames=33, led=False),
    Bucket("square-before", 192, 192, 0.01, tail=2, frames=33, led=False),
    Bucket("wide-long", 160, 256, 0.13, frames=LONG),
    Bucket("square-long", 192, 192, 0.05, frames=LONG),
    Bucket("tall-long", 256, 160, 0.05, frames=LONG),
    Bucket("wide-long-clip", 160, 256, 0.04, tail=2, frames=LONG),
    Bucket("wide-long-before", 160, 256, 0.02, tail=2, frames=LONG, led=False),
)
#: Share of the scenes of a bucket that are shown after their opening.
LATER, LATER_LONG = 0.25, 0.5
#: Captions that a clip has, one of which a step says of it.
SAID = 8


class Idea(NamedTuple):
    """Scenes of a bucket, how they move, which part of them is seen, and what is said of them."""

    bucket: int
    scenes: Scenes
    path: Path
    length: float  # seconds of the clip of which they are a part
    picture: tuple[int, int]  # height and width
    window: tuple[Tensor, Tensor] | None  # top and left
    ids: Tensor  # [b, SAID, MAX_LENGTH] int16


def think(k: int, count: int, seed: int) -> Idea:
    """Ideas for clips of bucket `k`."""
    bucket, generator = BUCKETS[k], torch.Generator().manual_seed(seed)
    h, w, f = bucket.height, bucket.width, bucket.frames
    seconds, window = torch.arange(f) / 16, None
    length = (f - 1) / 16 if f == LONG else scenes.OPENING_S
    if bucket.detail:
        # A window near the first object's outline, of a picture 2 to 7 times as high.
        size = 2.0 + 5.0 * float(torch.rand((), generator=generator))
        height, width = round(h * size), round(h * size * 16 / 9)
        aspect = width / height
        batch = scenes.sample(count, generator, aspect=aspect, later=LATER)
        middle = track(batch, torch.tensor([length / 2]), length, aspect)
        x, y, r = (v[:, 0, 0] for v in middle[:3])
        angle = torch.rand(count, generator=generator) * 2 * math.pi
        far = torch.rand(count, generator=generator) * 1.6
        top = ((y + far * r * angle.sin() + 1) * height / 2 - h / 2).round().clamp(0, height - h)
        left = (x + far * r * angle.cos() + aspect) * height / 2 - w / 2
        window = (top, left.round().clamp(0, width - w))
        h, w = height, width
    else:
        later = LATER_LONG if bucket.tail or f == LONG else LATER
        # A camera on its way would not come back.
        camera = "fixed" if bucket.tail else None
        batch = scenes.sample(count, generator, aspect=w / h, later=later, camera=camera)
    if not bucket.tail:
        path = track(batch, seconds, length, w / h)
    elif bucket.led:
        path = led.lead(batch, f, w / h, bucket.tail, generator)
    else:
        path = led.arrive(batch, f, w / h, bucket.tail)
    tokenizer = language.plain_tokenizer()
    said = [captions.describe(batch, generator) for _ in range(SAID)]
    ids = torch.stack([language.encode_captions(tokenizer, texts) for texts in said], 1)
    return Idea(k, batch, path, length, (h, w), window, ids)


class Ideas(IterableDataset[Idea]):
    """Ideas without end, in the proportions of the buckets."""

    def __init__(self, pixels: int, *, seed: int) -> None:
        """`pixels` is how many a batch of clips has, about."""
        self.pixels, self.seed = pixels, seed

    def __iter__(self) -> Iterator[Idea]:
        worker = get_worker_info()
        every, at = (1, 0) if worker is None else (worker.num_workers, worker.id)
        torch.set_num_threads(1)
        drawn = [0.0] * len(BUCKETS)
        number = 0
        while True:
            k = min(range(len(BUCKETS)), key=lambda i: (drawn[i] + 0.5) / BUCKETS[i].share)
            bucket = BUCKETS[k]
            count = max(2, self.pixels // (bucket.height * bucket.width * bucket.frames))
            drawn[k] += count
            if number % every == at:
                yield think(k, count, self.seed * 1_000_003 + number)
            number += 1


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips from a pool: normalised latents `[b, c, t, h, w]`, what share of each token each object
    covers, `[b, OBJECTS, t, h, w]`, their attributes by name, and ids of captions `[b, l]`.
    """

    latents: Tensor
    coverage: Tensor
    labels: dict[str, Tensor]  # [b] or, of objects, [b, OBJECTS]
    ids: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def between(self, start: int, stop: int) -> "Clips":
        """Their latent frames `start` to `stop`."""
        latents, coverage = (x[:, :, start:stop] for x in (self.latents, self.coverage))
        return Clips(latents, coverage, self.labels, self.ids)

    def present(self) -> Tensor:
        """Which objects there are, `[b, OBJECTS]`."""
        return torch.arange(OBJECTS, device=self.ids.device) < self.labels["count"][:, None]


#: The attributes that the throw-away heads are asked for.
LABELS = ("shape", "colour", "motion", "count", "background", "style", "camera")


class Pool:
    """The clips of one bucket; when it is full, new ones take the place of the oldest."""

    def __init__(self, bucket: Bucket, channels: int, capacity: int, device: str) -> None:
        t, h, w = bucket.latent_size
        self.capacity, self.drawn = capacity, 0
        n = (capacity, OBJECTS)
        self.latents = torch.empty(capacity, channels, t, h, w, dtype=torch.bfloat16, device=device)
        self.coverage = torch.empty(*n, t, h // 2, w // 2, dtype=torch.uint8, device=device)
        self.ids = torch.empty(
            capacity, SAID, language.MAX_LENGTH, dtype=torch.int16, device=device
        )
        of_object = ("shape", "colour", "motion")
        self.labels = {
            name: torch.empty(n if name in of_object else n[:1], dtype=torch.uint8, device=device)
            for name in LABELS
        }
        # Known to the host as well, which chooses clips without waiting for the device.
        self.later = torch.zeros(capacity, dtype=torch.bool)

    def __len__(self) -> int:
        return min(self.drawn, self.capacity)

    def add(self, idea: Idea, latents: Tensor, coverage: Tensor) -> None:
        """Keep clips, with the tokens' coverage."""
        device = self.latents.device
        slots = (self.drawn + torch.arange(len(idea.scenes))) % self.capacity
        here = slots.to(device)
        self.latents[here] = latents.bfloat16()
        self.coverage[here] = (coverage * 255).round().byte()
        self.ids[here] = idea.ids.to(device)
        for name, values in self.labels.items():
            values[here] = getattr(idea.scenes, name).byte().to(device)
        self.later[slots] = idea.scenes.phase > 0
        self.drawn += len(idea.scenes)

    def sample(self, count: int, generator: torch.Generator, *, later: bool | None = None) -> Clips:
        """Draw `count` clips, of those that open or go on if `later` says which."""
        index = torch.arange(len(self))
        if later is not None:
            fits = (self.later[: len(self)] == later).nonzero()[:, 0]
            index = fits if len(fits) else index
        picked = index[torch.randint(len(index), (count,), generator=generator)]
        said = torch.randint(SAID, (count,), generator=generator)
        device = self.latents.device
        picked, said = picked.to(device), said.to(device)
        return Clips(
            self.latents[picked],
            self.coverage[picked].float() / 255,
            {name: values[picked].long() for name, values in self.labels.items()},
            self.ids[picked, said].long(),
        )


def new_pools(channels: int, clips: int, device: str) -> list[Pool]:
    """Pools with room for so many clips in total."""
    whole = sum(bucket.share for bucket in BUCKETS)
    return [
        Pool(bucket, channels, max(8, round(clips * bucket.share / whole)), device)
        for bucket in BUCKETS
    ]


@torch.no_grad()
def draw(vae: VAE, idea: Idea, device: str) -> tuple[Tensor, Tensor]:
    """The latents of an idea, normalised, and what share of each token each object covers."""
    bucket = BUCKETS[idea.bucket]
    window = idea.window
    frames, coverage = render(
        idea.scenes,
        bucket.frames,
        *idea.picture,
        length=idea.length,
        window=None if window is None else (*window, bucket.height, bucket.width),
        path=idea.path,
        device=device,
    )
    dtype = next(vae.parameters()).dtype
    latents = vae.normalize(vae.encode(frames.to(dtype)).float())
    if bucket.tail:
        latents[:, :, -bucket.tail :] = led.ending(vae, frames.to(dtype), bucket.tail)
    cells = F.avg_pool3d(coverage, (1, 32, 32))
    first, rest = cells[:, :, :1], cells[:, :, 1:].unflatten(2, (-1, 4)).mean(3)
    return latents, torch.cat([first, rest], 2)


def on_host(idea: Idea) -> Idea:
    """An idea that another process had, in memory of this one."""
    kept = Scenes(*(getattr(idea.scenes, f.name).clone() for f in fields(Scenes)))
    path = Path(*(v.clone() for v in idea.path))
    return idea._replace(scenes=kept, ids=idea.ids.clone(), path=path)
