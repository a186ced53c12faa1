"""Pools of encoded clips to learn from: on disk, shared by processes, or in a device's memory."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from model.training import language, scenes
from model.training.scenes import Scenes


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
    share: float  # of the steps
    detail: bool = False
    tail: int = 0
    frames: int = 25
    led: bool = True
    objects: int = 1

    @property
    def bent(self) -> bool:
        """Whether clips are drawn wrong as well (`bending`), which doubles what they cost."""
        return self.frames == 1 or (self.frames < LONG and self.objects == 1 and self.whole)

    @property
    def whole(self) -> bool:
        """Whether whole pictures are shown, on a way of their own."""
        return not (self.tail or self.detail)

    @property
    def wanted(self) -> float:
        """How many of its clips are wanted, relative to others: a step shows as many more of them
        as they are shorter.
        """
        return self.share / self.latent_size[0]

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns."""
        return (self.frames - 1) // 4 + 1, self.height // 16, self.width // 16


LONG = 65
BUCKETS = (
    Bucket("wide-still", 160, 256, 0.12, frames=1),
    Bucket("square-still", 192, 192, 0.06, frames=1),
    Bucket("tall-still", 256, 160, 0.05, frames=1),
    Bucket("wide", 160, 256, 0.34),
    Bucket("square", 192, 192, 0.12),
    Bucket("tall", 256, 160, 0.12),
    Bucket("detail", 160, 256, 0.07, detail=True),
    Bucket("wide-picture", 160, 256, 0.02, tail=1),
    Bucket("square-picture", 192, 192, 0.01, tail=1),
    Bucket("wide-clip", 160, 256, 0.03, tail=2, frames=33),
    Bucket("square-clip", 192, 192, 0.02, tail=2, frames=33),
    Bucket("wide-before", 160, 256, 0.03, tail=2, frames=33, led=False),
    Bucket("square-before", 192, 192, 0.02, tail=2, frames=33, led=False),
    Bucket("wide-long", 160, 256, 0.12, frames=LONG),
    Bucket("square-long", 192, 192, 0.06, frames=LONG),
    Bucket("tall-long", 256, 160, 0.06, frames=LONG),
    Bucket("wide-long-picture", 160, 256, 0.02, tail=1, frames=LONG),
    Bucket("square-long-picture", 192, 192, 0.01, tail=1, frames=LONG),
    Bucket("wide-long-clip", 160, 256, 0.04, tail=2, frames=LONG),
    Bucket("square-long-clip", 192, 192, 0.02, tail=2, frames=LONG),
    Bucket("wide-long-before", 160, 256, 0.02, tail=2, frames=LONG, led=False),
    Bucket("wide-pair-still", 160, 256, 0.12, frames=1, objects=2),
    Bucket("square-pair-still", 192, 192, 0.05, frames=1, objects=2),
    Bucket("tall-pair-still", 256, 160, 0.04, frames=1, objects=2),
    Bucket("wide-pair", 160, 256, 0.20, objects=2),
    Bucket("square-pair", 192, 192, 0.06, objects=2),
    Bucket("tall-pair", 256, 160, 0.06, objects=2),
    Bucket("wide-pair-long", 160, 256, 0.18, frames=LONG, objects=2),
    Bucket("square-pair-long", 192, 192, 0.06, frames=LONG, objects=2),
    Bucket("tall-pair-long", 256, 160, 0.07, frames=LONG, objects=2),
)
#: Captions that a clip has, one of which a step says of it.
SAID = 4
FIELDS = [f.name for f in fields(Scenes)]
WHOLE_FIELDS = ("shape", "colour", "motion", "background", "style", "size", "speed")
#: Numbers of a scene's record: one a field, but three of its tint.
RECORD = len(FIELDS) + 2


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips from the pool: normalised latents `[b, c, t, h, w]`, each object's scenes with its
    token coverage `[b, t, h, w]`, the latents of the same scenes drawn wrong, and the ids of a
    caption of each, `[b, l]`. Known to the host: `later` ones do not open with the first of their
    frames, and of those that are not `wrong`, `bent` means nothing.
    """

    latents: Tensor
    objects: tuple[tuple[Scenes, Tensor], ...]
    bent: Tensor
    ids: Tensor
    later: Tensor
    wrong: Tensor

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
        latents, bent, ids = (x.to(device) for x in (self.latents, self.bent, self.ids))
        return Clips(latents, objects, bent, ids, self.later, self.wrong)

    def between(self, start: int, stop: int) -> "Clips":
        """Their latent frames `start` to `stop`."""
        latents, bent = (x[:, :, start:stop] for x in (self.latents, self.bent))
        objects = tuple((scenes, cover[:, start:stop]) for scenes, cover in self.objects)
        return Clips(latents, objects, bent, self.ids, self.later, self.wrong)


class Pool:
    """The clips of one bucket; when it is full, new ones take the place of the oldest.

    They lie in files of a `folder`, which other processes may read while one adds, or, without
    one, in the memory of a `device`.
    """

    def __init__(
        self,
        bucket: Bucket,
        channels: int,
        capacity: int,
        *,
        folder: Path | None = None,
        device: str = "cpu",
    ) -> None:
        t, h, w = bucket.latent_size
        n = bucket.objects
        self.capacity, self.bucket = capacity, bucket

        def room(name: str, dtype: torch.dtype, *shape: int, device: str = device) -> Tensor:
            size = torch.Size(shape)
            if folder is None:
                return torch.zeros(size, dtype=dtype, device=device)
            path = str(folder / f"{bucket.name}.{name}")
            whole = torch.from_file(path, shared=True, size=size.numel(), dtype=dtype)
            return whole.view(size)

        made_for = capacity
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            found = folder / f"{bucket.name}.records"
            made_for = found.stat().st_size // (4 * n * RECORD) if found.exists() else capacity
        self.latents = room("latents", torch.bfloat16, capacity, channels, t, h, w)
        kept = capacity if bucket.bent else 1
        self.bent = room("bent", torch.bfloat16, kept, channels, t, h, w)
        self.coverage = room("coverage", torch.uint8, capacity, n, t, h // 2, w // 2)
        self.ids = room("ids", torch.int16, capacity, SAID, language.MAX_LENGTH)
        # The host chooses clips by these, without waiting for the device.
        self.records = room("records", torch.float32, capacity, n, RECORD, device="cpu")
        self.wrong = room("wrong", torch.uint8, capacity, device="cpu")
        self.count = room("count", torch.int64, 1, device="cpu")
        if made_for < capacity:  # it was full, perhaps; what is beyond its old end is not drawn yet
            self.count.clamp_(max=made_for)

    @property
    def drawn(self) -> int:
        """How many clips have been drawn so far."""
        return int(self.count)

    def add(
        self, latents: Tensor, bent: Tensor | None, cells: Tensor, records: Tensor, ids: Tensor
    ) -> None:
        """Keep clips: latents `[b, c, t, h, w]`, the same drawn wrong, if they were, token coverage
        `[b, n, t, h, w]`, the scenes' records `[b, n, RECORD]` and their captions' ids.
        """
        slots = (self.drawn + torch.arange(len(latents))) % self.capacity
        here = slots.to(self.latents.device)
        self.latents[here] = latents.to(self.latents)
        self.wrong[slots] = int(bent is not None)
        if bent is not None:
            self.bent[here] = bent.to(self.bent)
        self.coverage[here] = (cells * 255).round().to(self.coverage)
        self.ids[here] = ids.to(self.ids)
        self.records[slots] = records
        self.count += len(latents)

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        *,
        opening: bool | None = None,
        odds: dict[str, float] | None = None,
    ) -> Clips:
        """Draw `count` clips at most; `opening` ones begin at their scene's beginning.

        `odds` are the probabilities, by shape, with which each object of a drawn clip is kept.
        """
        available = min(self.drawn, self.capacity)
        index = torch.randint(available, (count * 16 + 32,), generator=generator)
        if odds is not None:
            shapes = self.records[index, :, FIELDS.index("shape")].long()
            likely = torch.tensor([odds.get(name, 1.0) for name in scenes.SHAPES])[shapes].prod(1)
            index = index[torch.rand(len(index), generator=generator) < likely]
        if opening is not None:
            fits = (self.records[index, 0, -1] == 0) == opening
            index = index[fits] if fits.any() else index
        index = index[:count]
        said = torch.randint(SAID, (len(index),), generator=generator)
        device = self.latents.device
        here, said = (x.to(device, non_blocking=True) for x in (index, said))
        latents = self.latents[here]
        records = self.records[index].to(device, non_blocking=True).unbind(1)
        coverage = (self.coverage[here].float() / 255).unbind(1)
        objects = tuple(zip(map(_scenes, records), coverage, strict=True))
        bent = self.bent[here] if self.bucket.bent else latents
        later, wrong = self.records[index, 0, -1] > 0, self.wrong[index] > 0
        return Clips(latents, objects, bent, self.ids[here, said].long(), later, wrong)


def new_pools(channels: int, clips: int, *, folder: Path | None, device: str) -> list[Pool]:
    """Pools with room for so many clips' worth of tokens in all."""
    whole = sum(bucket.wanted for bucket in BUCKETS)
    return [
        Pool(b, channels, max(64, round(clips * b.wanted / whole)), folder=folder, device=device)
        for b in BUCKETS
    ]


def records_of(objects: tuple[Scenes, ...]) -> Tensor:
    """Scenes of each object as records, `[b, n, RECORD]`."""
    rows = [
        torch.cat([getattr(scene, name).float().view(len(scene), -1) for name in FIELDS], 1)
        for scene in objects
    ]
    return torch.stack(rows, 1)


def _scenes(rows: Tensor) -> Scenes:
    """Scenes from their records."""
    columns, at = [], 0
    for name in FIELDS:
        size = 3 if name == "tint" else 1
        value = rows[:, at : at + size]
        value = value if name == "tint" else value[:, 0]
        columns.append(value.long() if name in WHOLE_FIELDS else value)
        at += size
    return Scenes(*columns)
