"""The files that belong to a finished clip: their names, types, and the sprite sheet's geometry."""

import math
from dataclasses import dataclass

THUMBNAIL = "thumbnail.webp"
SPRITES = "spritesheet.jpg"
SPRITE_MAP = "spritesheet.vtt"
PREVIEW_WEBP = "preview.webp"
PREVIEW_GIF = "preview.gif"

CONTENT_TYPES = {
    THUMBNAIL: "image/webp",
    SPRITES: "image/jpeg",
    SPRITE_MAP: "text/vtt; charset=utf-8",
    PREVIEW_WEBP: "image/webp",
    PREVIEW_GIF: "image/gif",
}

#: A sprite sheet shows at most so many frames, in rows of so many, and no longer side than this.
SPRITES_MAX = 64
SPRITE_COLUMNS = 8
SPRITE_SIDE = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprites:
    """A sheet of `frames` pictures of `width` x `height` pixels, row after row."""

    columns: int
    rows: int
    width: int
    height: int
    frames: int

    def place(self, number: int) -> tuple[int, int]:
        """Left and top of a picture on the sheet, in pixels."""
        row, column = divmod(number, self.columns)
        return column * self.width, row * self.height


def sprites(width: int, height: int, frames: int) -> Sprites:
    """The sheet of a clip: evenly spread frames, all of them when they are few."""
    shown = min(frames, SPRITES_MAX)
    columns = min(shown, SPRITE_COLUMNS)
    small = fitted(width, height, SPRITE_SIDE)
    return Sprites(
        columns=columns,
        rows=math.ceil(shown / columns),
        width=small[0],
        height=small[1],
        frames=shown,
    )


def spread(frames: int, shown: int) -> list[int]:
    """The numbers of `shown` frames, evenly spread over `frames`, the first among them."""
    return [i * frames // shown for i in range(shown)]


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """The size scaled down, its shape kept, so that the longer side is `side` at most."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def beside(output_key: str, name: str) -> str:
    """Where the file `name` of the clip stored under `output_key` is."""
    return f"{output_key.rpartition('/')[0]}/{name}"
