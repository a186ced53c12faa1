"""A picture of any size and kind, cut to the size that a video will have: PNG bytes to upload."""

import io
import math
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageOps

from app.options import fail

Size = tuple[int, int]


def open_upright(path: Path) -> Image.Image:
    """The picture in `path`, turned as its EXIF says; ends the command when it is none."""
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16"):  # which convert() would clip; the server does not
                return upright.copy()
            # What is transparent stays so: the server says what is behind it.
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        fail(f"{path} is not a picture that can be read: {error}")
    except OSError as error:
        if error.errno:  # Pillow's own have no number
            raise
        fail(f"{path} is not a picture that can be read: {error}")


def nearest(size: Size, offered: Iterable[Size]) -> Size:
    """The offered size nearest to `size`: in shape first, then in number of pixels."""

    def distance(other: Size) -> tuple[float, float]:
        width, height = other[0] / size[0], other[1] / size[1]
        return round(abs(math.log(width / height)), 2), abs(math.log(width * height))

    return min(offered, key=distance)


def cover(picture: Image.Image, size: Size) -> bytes:
    """The picture scaled to cover `size`, its middle cut out, as PNG."""
    png = io.BytesIO()
    ImageOps.fit(picture, size, Image.Resampling.LANCZOS).save(png, "PNG")
    return png.getvalue()
