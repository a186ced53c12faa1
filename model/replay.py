"""Streams through the VAE that can begin anywhere in a clip and give what they would have given.

A causal network looks back a bounded number of frames. So a stream that was lost, because its
process was, is had again by passing so many frames once more: the same bits, and nothing but
latents to keep.
"""

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from model.canvas import Canvas
from model.place import Tail
from model.vae import VAE, VAEConfig

__all__ = ["Decoding", "Enlarging", "decoder_history", "encoder_history", "latents_of"]

# Frames that a 3x1x1 or 3x3x3 kernel has before the newest; convolutions of a residual block.
_BACK, _CONVOLUTIONS = 2, 2
# The latent frame that a stream begins with is decoded to one frame instead of four, and what comes
# of the next is still rounded to its times.
_BEGINNING = 2


def decoder_history(config: VAEConfig) -> int:
    """Latent frames that must have passed before the decoder's output is that of the whole clip."""
    stages = len(config.dim_mult)
    doubles = (*config.temperal_downsample[: stages - 1][::-1], False)
    back = _BACK + 2 * _CONVOLUTIONS * _BACK  # the first convolution and the middle
    rate = 1
    for double in doubles:
        back += (config.num_res_blocks + 1) * _CONVOLUTIONS * _BACK / rate
        if double:
            back += _BACK / rate
            rate *= 2
    return math.ceil(back + _BACK / rate) + _BEGINNING


def encoder_history(config: VAEConfig) -> int:
    """Latent frames that must have passed before the encoder's output is that of the whole clip."""
    stages = len(config.dim_mult)
    halves = (*config.temperal_downsample[: stages - 1], False)
    rate = config.scale_factor_temporal
    back = _BACK / rate
    for halve in halves:
        back += config.num_res_blocks * _CONVOLUTIONS * _BACK / rate
        if halve:
            back += 1 / rate  # of two frames that become one, and one before them
            rate //= 2
    # The middle and the last convolution, at the rate of the latents.
    return math.ceil(back + 2 * _CONVOLUTIONS * _BACK + _BACK) + _BEGINNING


def latents_of(frames: int, config: VAEConfig) -> int:
    """Latent frames that so many frames are at most a part of, in a clip's middle."""
    return math.ceil(frames / config.scale_factor_temporal)


class Decoding:
    """Frames of the latent frames that come one after the other, the first of them number `start`.

    `tail` holds the ones before, back to `origin`, where the clip begins, or as far as the decoder
    looks. `again` is called after each that is passed once more. The last `remembered` of the
    frames before the next are `past`; None where the clip begins.
    """

    def __init__(
        self,
        vae: VAE,
        canvas: Canvas,
        tail: Tail,
        *,
        origin: int,
        start: int,
        again: Callable[[], None],
        remembered: int = 0,
    ) -> None:
        self._vae, self._canvas, self._stream = vae, canvas, vae.stream()
        self._remembered = remembered
        self.past: Float[Tensor, "1 3 n H W"] | None = None
        history = decoder_history(vae.config) + latents_of(remembered, vae.config)
        for i in range(max(origin, start - history), start):
            self.next(tail.between(i, i + 1))
            again()

    def next(self, latent: Float[Tensor, "1 z 1 h w"]) -> Float[Tensor, "1 3 f H W"]:
        """The frames of the next latent frame, in [-1, 1], cropped to the canvas."""
        frames = self._vae.decode(self._vae.denormalize(latent), self._stream)
        frames = self._canvas.crop(frames)
        if self._remembered:
            known = frames if self.past is None else torch.cat([self.past, frames], 2)
            self.past = known[:, :, -self._remembered :]
        return frames


class Enlarging:
    """Latents of the frames of `base` size enlarged to `full` size; otherwise as Decoding.

    `before` are frames of full size that the clip goes on from; they are its first `known` latent
    frames, and are taken instead of those.
    """

    def __init__(
        self,
        vae: VAE,
        base: Canvas,
        full: Canvas,
        tail: Tail,
        *,
        before: Iterable[Float[Tensor, "1 3 _f h w"]],
        known: int,
        origin: int,
        start: int,
        again: Callable[[], None],
    ) -> None:
        self._vae, self._canvas, self._stream = vae, full, vae.stream()
        begin = start - encoder_history(vae.config)
        if begin <= max(origin, known):
            begin = max(origin, known)
            for _ in vae.encode_stream(before, self._stream):
                again()
        self._decoding = Decoding(vae, base, tail, origin=origin, start=begin, again=again)
        for i in range(begin, start):
            self.next(tail.between(i, i + 1))
            again()

    def next(self, latent: Float[Tensor, "1 z 1 h w"]) -> Float[Tensor, "1 z 1 H W"]:
        """The next latent frame, enlarged."""
        frames = self._decoding.next(latent)
        if self._stream.begins:
            frames = frames[:, :, -1:]
        (enlarged,) = self._canvas.resize([frames])
        return self._vae.normalize(self._vae.encode(enlarged, self._stream).float())
