"""Parts of a picture that pass one by one, each with the surroundings its stages can see."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor

__all__ = ["Tile", "margins", "reach", "tiles"]


@dataclass(frozen=True, slots=True)
class Tile:
    """Latent cells `rows` x `columns`, (start, stop), of a picture of `size` cells.

    Level i is what stage i takes; each stage but the last doubles the cells. The last two levels
    are what the final convolution takes and gives. `margins[i]` is how many cells of level i, where
    the picture has them, must surround the tile there for its result to be exact.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    size: tuple[int, int]
    margins: tuple[int, ...]

    def scale(self, level: int) -> int:
        """Cells of a level for each latent cell, along one axis."""
        return 2 ** min(level, len(self.margins) - 3)

    def narrow(self, x: Tensor, level: int) -> Tensor:
        """The tile and its margin at `level`, of what the level before made of its own [b t h w c].

        Level 0 is cut out of the whole picture.
        """
        for axis, (start, stop) in enumerate((self.rows, self.columns)):
            first, last = self._span(start, stop, self.size[axis], level)
            have = 0
            if level > 0:
                have, _ = self._span(start, stop, self.size[axis], level - 1)
                have *= self.scale(level) // self.scale(level - 1)
            x = x.narrow(2 + axis, first - have, last - first)
        return x

    def around(self, reach: tuple[int, int]) -> "Tile":
        """The tile and so many latent cells before and after it, where the picture has them."""

        def wider(span: tuple[int, int], size: int) -> tuple[int, int]:
            return max(0, span[0] - reach[0]), min(size, span[1] + reach[1])

        rows, columns = wider(self.rows, self.size[0]), wider(self.columns, self.size[1])
        return replace(self, rows=rows, columns=columns)

    def _span(self, start: int, stop: int, size: int, level: int) -> tuple[int, int]:
        scale, margin = self.scale(level), self.margins[level]
        return max(0, start * scale - margin), min(size * scale, stop * scale + margin)


def margins(stages: int, convolutions: int) -> tuple[int, ...]:
    """`Tile.margins` for stages of so many 3x3 convolutions each, and one more at the end."""
    found = [0, 1]  # the final convolution sees one cell around its result
    for stage in reversed(range(stages)):
        inner = found[-1]
        if stage < stages - 1:
            inner = -(-(inner + 1) // 2)  # the doubling convolution sees one doubled cell more
        found.append(inner + convolutions)
    return tuple(reversed(found))


def reach(halvings: int, convolutions: int) -> tuple[int, int]:
    """Latent cells before and after a tile that an encoder sees for it: a 3x3 convolution, then
    stages of so many, each of which halves its cells.
    """
    before = after = 0
    for _ in range(halvings):  # a cell is made of two, and of one after them
        before, after = 2 * before + convolutions, 2 * after + 1 + convolutions
    scale = 2**halvings
    return -(-(before + 1) // scale), -(-(after + 1) // scale)


def tiles(
    size: tuple[int, int], tile: tuple[int, int] | None, margins: tuple[int, ...]
) -> Iterator[Tile]:
    """The tiles, of `tile` latent cells or less, that cover `size`; one if `tile` is None."""
    height, width = size if tile is None else tile
    for top, left in product(range(0, size[0], height), range(0, size[1], width)):
        rows = top, min(top + height, size[0])
        columns = left, min(left + width, size[1])
        yield Tile(rows, columns, size, margins)
