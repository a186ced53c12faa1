"""A growing pool of encoded clips on disk: a process renders and encodes, the trainer reads.

Every bucket (a picture size) has one memory-mapped file of fixed-size records and a count. Clip i
of a pool is drawn from seed i, so an interrupted pool goes on where it stopped.
"""

import multiprocessing
import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.training import scenes
from model.training.scenes import Scenes

BUCKETS = ((160, 256), (192, 192), (256, 160))  # height, width in pixels
SHARES = (0.5, 0.25, 0.25)
FRAMES = 25
LATER = 0.25
FIELDS = [f.name for f in fields(Scenes)]


@dataclass(frozen=True, slots=True)
class Clips:
    """A batch from the pool: normalised latents `[b, c, t, h, w]`, token coverage `[b, t, h, w]`."""

    latents: Tensor
    coverage: Tensor
    scenes: Scenes


class Pool:
    """The records of one bucket; `capacity` bounds its file, older records are then replaced."""

    def __init__(self, folder: Path, bucket: int, channels: int, capacity: int, mode: str) -> None:
        height, width = BUCKETS[bucket]
        t, h, w = (FRAMES - 1) // 4 + 1, height // 16, width // 16
        self.latent_shape, self.cover_shape = (channels, t, h, w), (t, h // 2, w // 2)
        record = np.dtype(
            [
                ("latents", np.uint16, self.latent_shape),
                ("coverage", np.uint8, self.cover_shape),
                ("scene", np.float32, (len(FIELDS) + 2,)),
            ]
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"clips-{height}x{width}.bin"
        self.count_path = folder / f"clips-{height}x{width}.count"
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
            slot["coverage"] = (clips.coverage[i] * 255).round().byte().numpy()
            slot["scene"] = torch.cat(
                [torch.as_tensor(getattr(clips.scenes, n)[i]).float().view(-1) for n in FIELDS]
            ).numpy()
        partial = self.count_path.with_suffix(".part")
        partial.write_text(str(first + len(clips.scenes)))
        os.replace(partial, self.count_path)

    def sample(self, count: int, generator: torch.Generator, *, opening: bool = False) -> Clips:
        """Draw `count` records; `opening` only such as start at the beginning."""
        available = min(self.drawn, self.capacity)
        index = torch.randint(available, (count * (3 if opening else 1),), generator=generator)
        rows = self.records[index.numpy()]
        if opening:
            rows = rows[rows["scene"][:, -1] == 0][:count]
        flat = torch.from_numpy(rows["scene"].copy())
        columns, at = [], 0
        for name in FIELDS:
            size = 3 if name == "tint" else 1
            value = flat[:, at : at + size]
            value = value if name == "tint" else value[:, 0]
            whole = name in ("shape", "colour", "motion", "background", "style", "size", "speed")
            columns.append(value.long() if whole else value)
            at += size
        latents = torch.from_numpy(rows["latents"].copy()).view(torch.bfloat16)
        coverage = torch.from_numpy(rows["coverage"].copy()).float() / 255
        return Clips(latents, coverage, Scenes(*columns))


def encode_scenes(vae: torch.nn.Module, batch: Scenes, height: int, width: int) -> Clips:
    """Render and encode scenes to normalised latents, with the coverage of each token."""
    frames, coverage = scenes.render(batch, FRAMES, height, width)
    dtype = next(vae.parameters()).dtype
    with torch.no_grad():
        latents = vae.normalize(vae.encode(frames.to(dtype)).float())
    cells = F.avg_pool2d(coverage, 32)
    first, rest = cells[:, :1], cells[:, 1:].unflatten(1, (-1, 4)).mean(2)
    return Clips(latents, torch.cat([first, rest], 1), batch)


def fill(folder: Path, vae_folder: Path, *, clips: int, seed: int, threads: int = 1) -> None:
    """Draw clips into all buckets in turn until `clips` of them exist in total."""
    from model.training.weights import load_vae

    torch.set_num_threads(threads)
    vae = load_vae(vae_folder).to(torch.bfloat16)
    capacity = clips
    pools = [Pool(folder, i, vae.config.z_dim, capacity, "r+") for i in range(len(BUCKETS))]
    while sum(p.drawn for p in pools) < clips:
        drawn = [p.drawn / share for p, share in zip(pools, SHARES, strict=True)]
        bucket = drawn.index(min(drawn))
        pool, (height, width) = pools[bucket], BUCKETS[bucket]
        generator = torch.Generator().manual_seed(seed * 7919 + bucket * 104_729 + pool.drawn)
        batch = scenes.sample(8, generator, aspect=width / height, later=LATER)
        pool.add(encode_scenes(vae, batch, height, width))


def start_filling(folder: Path, vae_folder: Path, *, clips: int, seed: int) -> multiprocessing.Process:
    """Fill the pool in a process of its own, which ends with this one."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=fill,
        args=(folder, vae_folder),
        kwargs={"clips": clips, "seed": seed},
        daemon=True,
        name="kinora-latents",
    )
    process.start()
    return process
