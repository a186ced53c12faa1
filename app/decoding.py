"""Turn one untrusted image into a plain RGB PNG: bytes on stdin, PNG on stdout.

Run as a program, never imported by the service. Pillow's decoders are C code fed by strangers, so
they run here: bounded memory, bounded CPU time, no file written. The parent (`app/intake.py`) adds
a wall clock. Exit status 2 means the image is at fault, 3 that it is too large, and stderr then
holds a sentence about it.
"""

import io
import resource
import sys
import warnings

from PIL import (
    Image,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

#: Imported by name, so that no plugin is searched for while decoding.
READERS = (PngImagePlugin, JpegImagePlugin, MpoImagePlugin, WebPImagePlugin)
FORMATS = ("PNG", "JPEG", "WEBP")
BAD, TOO_LARGE = 2, 3


def limit(memory_bytes: int, cpu_s: int) -> None:
    """No more memory, CPU seconds or file writes than this, from now on, for this process."""
    for what, amount in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (amount, amount))


def decode(data: bytes, max_pixels: int) -> bytes:
    """The image as PNG: upright (EXIF), sRGB as stored, transparency over black, no metadata."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise Image.DecompressionBombError
        # A camera's JPEG may carry a smaller copy or a map of its light behind the photo itself.
        if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
            raise ValueError(f"is an animation of {frames} frames; send a still")
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits of grey; convert() would clip instead of scale
        upright = upright.convert("I").point(lambda value: value / 256).convert("L")
    if upright.has_transparency_data:
        coloured = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", coloured.size, "black"), coloured)
    plain = Image.new("RGB", upright.size)
    plain.paste(upright.convert("RGB"))
    png = io.BytesIO()
    plain.save(png, "PNG", compress_level=1)
    return png.getvalue()


def main() -> int:
    """Decode stdin to stdout under the limits given as arguments: bytes, seconds, pixels."""
    memory_bytes, cpu_s, max_pixels = (int(argument) for argument in sys.argv[1:4])
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("ignore")  # they would stand on stderr before the sentence
    status = BAD
    limit(memory_bytes, cpu_s)
    try:
        png = decode(sys.stdin.buffer.read(), max_pixels)
    except MemoryError:
        reason = "needs too much memory to decode"
    except UnidentifiedImageError:
        reason = "is not a PNG, JPEG or WebP image"
    except Image.DecompressionBombError:
        reason, status = f"has more than the {max_pixels} pixels that are taken", TOO_LARGE
    except ValueError as error:
        reason = str(error) if str(error).startswith("is ") else f"is damaged: {error}"
    except (OSError, SyntaxError, EOFError, IndexError, TypeError, ArithmeticError) as error:
        reason = f"is damaged: {error}"  # what Pillow's readers raise on broken files
    else:
        sys.stdout.buffer.write(png)
        return 0
    sys.stderr.write(reason)
    return status


if __name__ == "__main__":
    sys.exit(main())
