"""What a request gives, as latents of one size: frames before a clip, its ends, a clip to edit."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from model.canvas import Canvas, from_uint8
from model.conditioning import encode
from model.replay import encoder_history
from model.request import Resolved
from model.vae import VAE

__all__ = ["AFTER", "PAST", "following", "in_chunks", "preceding", "preceding_frames", "source"]

#: Frames that a clip goes on from: what is seen and how it moves, and a past for the decoder.
BEFORE = 17
#: Frames that a clip leads to.
AFTER = 8
#: Latent frames of standing still that are taken to lie before those. Without any, the first
#: latent frame after a picture is unlike all later ones, and is decoded visibly too bright.
PAST = 2
# Frames encoded at a time; a bound on memory, not on the result.
_CHUNK = 8


def preceding_frames(
    frames: UInt8[Tensor, "f h w 3"] | None, factor: int
) -> UInt8[Tensor, "g h w 3"] | None:
    """The end of the clip that is gone on from: its last factor · k + 1 frames."""
    if frames is None:
        return None
    count = min(len(frames), BEFORE)
    return frames[-((count - 1) // factor * factor + 1) :]


def preceding(
    vae: VAE, canvas: Canvas, frames: UInt8[Tensor, "f h w 3"]
) -> Float[Tensor, "1 z p h w"]:
    """Latents of the frames that are gone on from."""
    return encode(vae, canvas.resize(map(from_uint8, in_chunks(frames))))


def following(
    vae: VAE, canvas: Canvas, frames: UInt8[Tensor, "f h w 3"], count: int
) -> Float[Tensor, "1 z n h w"]:
    """`count` latent frames of a clip whose past is not made yet.

    A latent frame stands for several frames and their past, which is taken to have stood still; so
    is what is missing at the end.
    """
    length = count * vae.config.scale_factor_temporal
    frames = frames[:length]
    rest = frames[-1:].expand(length - len(frames), -1, -1, -1)
    past = frames[:1].expand(1 + PAST * vae.config.scale_factor_temporal, -1, -1, -1)
    return preceding(vae, canvas, torch.cat([past, frames, rest]))[:, :, 1 + PAST :]


def source(
    vae: VAE, canvas: Canvas, request: Resolved, start: int
) -> Iterator[Float[Tensor, "1 z 1 h w"]]:
    """The latent frames of the clip to edit, from number `start` on, one by one."""
    assert request.video is not None
    factor = vae.config.scale_factor_temporal
    begin = max(0, start - encoder_history(vae.config))
    # A stream begins with one frame, which here is the last of its latent frame.
    chunks = in_chunks(request.video[begin * factor :])
    weight = next(vae.parameters())
    pixels = (chunk.to(weight) for chunk in canvas.resize(map(from_uint8, chunks)))
    for number, latent in enumerate(vae.encode_stream(pixels, vae.stream()), begin):
        if number >= start:
            yield vae.normalize(latent.float())


def in_chunks(video: UInt8[Tensor, "f h w 3"]) -> Iterator[UInt8[Tensor, "g h w 3"]]:
    """The first frame alone, then a multiple of four at a time, as the VAE takes them."""
    yield video[:1]
    yield from (video[start : start + _CHUNK] for start in range(1, len(video), _CHUNK))
