"""Clips far larger than a checkpoint was trained for: made small, enlarged, refined in tiles.

The small clip settles what happens where. Enlarged as pixels (enlarging latents loses more),
encoded again and noised to a moderate level (SDEdit, Meng et al. 2022, arXiv:2108.01073), it is
denoised at its full size; the transformer sees overlapping tiles as large as it was trained on, and
their velocities are averaged at every step, so that no seam survives (MultiDiffusion, Bar-Tal et
al. 2023, arXiv:2302.08113, eq. 5).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from model.denoise import Velocity

__all__ = ["Refine", "Tiled", "base_size", "spans"]


@dataclass(frozen=True, slots=True)
class Refine:
    """How a checkpoint is enlarged: the section "refine" of its `kinora.json`.

    A clip of more than `base_pixels` pixels a frame is made at about that size first, then noised
    to σ = `strength` and denoised in `steps` steps on tiles of `tile` (height, width) tokens that
    overlap by at least `overlap` tokens.
    """

    base_pixels: int
    strength: float
    steps: int
    tile: tuple[int, int]
    overlap: int

    def __post_init__(self) -> None:
        if not 0 < self.strength < 1:
            raise ValueError(f"strength: must be between 0 and 1, not {self.strength}")
        if not 0 <= self.overlap < min(self.tile):
            raise ValueError(f"overlap: must be less than the tile {self.tile}, not {self.overlap}")

    @classmethod
    def from_json(cls, section: Mapping[str, Any]) -> "Refine":
        """Read the section; KeyError, TypeError or ValueError for what is missing or wrong."""
        height, width = section["tile"]
        return cls(
            base_pixels=int(section["base_pixels"]),
            strength=float(section["strength"]),
            steps=int(section["steps"]),
            tile=(int(height), int(width)),
            overlap=int(section["overlap"]),
        )


def base_size(width: int, height: int, grid: int, pixels: int) -> tuple[int, int]:
    """About `pixels` pixels in the aspect ratio of width x height, the longer side on the grid.

    The shorter side may lie off the grid (it is padded like any other): nothing is stretched.
    """
    long, short = max(width, height), min(width, height)
    on_grid = max(round(math.sqrt(pixels * long / short) / grid), 1) * grid
    other = max(round(short * on_grid / long), grid)
    return (on_grid, other) if width >= height else (other, on_grid)


def spans(cells: int, tile: int, overlap: int) -> list[slice]:
    """The fewest slices of `tile` cells that cover `cells` and overlap by `overlap` or more."""
    if cells <= tile:
        return [slice(0, cells)]
    count = math.ceil((cells - overlap) / (tile - overlap))
    starts = [round(i * (cells - tile) / (count - 1)) for i in range(count)]
    return [slice(start, start + tile) for start in starts]


@dataclass(frozen=True, slots=True)
class Tiled:
    """A velocity field on a large picture, out of one on tiles: their weighted mean.

    `rows` and `columns` are spans of latent cells. `tick` is called after each tile.
    """

    velocity: Velocity
    rows: list[slice]
    columns: list[slice]
    tick: Callable[[], None]

    def __call__(
        self, latents: Float[Tensor, "1 c t h w"], timestep: Float[Tensor, "1 *t"]
    ) -> Float[Tensor, "1 c_out t h w"]:
        *_, h, w = latents.shape
        # Tiles are all of one size, so they have one window: sin², above zero at its edges, which
        # hands over smoothly where tiles overlap.
        tile = latents[..., self.rows[0], self.columns[0]]
        window = torch.outer(*map(_bump, tile.shape[-2:])).to(latents)
        weights = latents.new_zeros(h, w)
        total: Tensor | None = None
        for rows, columns in product(self.rows, self.columns):
            v = self.velocity(latents[..., rows, columns], timestep)
            if total is None:
                total = v.new_zeros(*v.shape[:-2], h, w)
            total[..., rows, columns] += window * v
            weights[rows, columns] += window
            self.tick()
        assert total is not None  # there is at least one row and one column
        return total / weights


def _bump(cells: int) -> Float[Tensor, " cells"]:
    """sin² from edge to edge."""
    return torch.sin((torch.arange(cells) + 0.5) * (math.pi / cells)).square()
