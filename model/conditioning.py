"""What the model is given beside noise: clean latent frames, or condition channels.

One mechanism carries most features: some latent frames are clean (time 0) and the rest are denoised
given them. Checkpoints without per-frame times (Wan 2.1 and A14B image-to-video) get the same facts
as extra channels instead: a mask and the latents of a clip that is blank where nothing is known.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from model.vae import VAE

__all__ = ["Conditioning", "clean_frames", "condition_channels", "encode"]

# Frames encoded at a time; a bound on memory, not on the result.
_CHUNK = 8


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What is given for one clip of latents [1 c t h w].

    `clean` marks the latent frames that are given and `known` holds them (zeros elsewhere).
    `channels` is appended to every model input.
    """

    clean: Bool[Tensor, " t"]
    known: Float[Tensor, "1 c t h w"] | None = None
    channels: Float[Tensor, "1 extra t h w"] | None = None

    def impose(self, latents: Float[Tensor, "1 c t h w"]) -> Float[Tensor, "1 c t h w"]:
        """`latents` with the given frames put in their places."""
        if self.known is None:
            return latents
        return torch.where(self.clean[:, None, None], self.known, latents)

    def model_input(self, latents: Float[Tensor, "1 c t h w"]) -> Float[Tensor, "1 c_in t h w"]:
        return latents if self.channels is None else torch.cat([latents, self.channels], dim=1)

    def timestep(self, t: float) -> Float[Tensor, "1 *t"]:
        """One time for the clip, or one per latent frame, 0 where it is clean."""
        if self.known is None:
            return torch.full((1,), t, device=self.clean.device)
        return torch.where(self.clean, 0.0, t).unsqueeze(0)


def clean_frames(
    shape: tuple[int, ...],
    first: Float[Tensor, "1 c p h w"],
    last: Float[Tensor, "1 c n h w"],
) -> Conditioning:
    """The first p and the last n latent frames of latents of `shape` (1, c, t, h, w) are given."""
    clean = torch.zeros(shape[2], dtype=torch.bool, device=first.device)
    if not first.shape[2] and not last.shape[2]:
        return Conditioning(clean)
    known = first.new_zeros(shape)
    for latents, place in (
        (first, slice(0, first.shape[2])),
        (last, slice(shape[2] - last.shape[2], shape[2])),
    ):
        clean[place] = True
        known[:, :, place] = latents
    return Conditioning(clean, known)


def condition_channels(
    vae: VAE,
    shape: tuple[int, ...],
    first: Float[Tensor, "1 3 1 H W"],
    last: Float[Tensor, "1 3 1 H W"] | None,
) -> Conditioning:
    """The given pictures as channels: mask, then latents (the layout of Wan's image-to-video).

    The mask has one channel for each pixel frame of a latent frame; the first latent frame's one
    picture counts for all of them.
    """
    factor = vae.config.scale_factor_temporal
    frames = (shape[2] - 1) * factor + 1
    latents = encode(vae, _blank_between(first, last, frames))
    mask = torch.zeros(frames, device=latents.device)
    mask[0] = 1
    if last is not None:
        mask[-1] = 1
    mask = torch.cat([mask[:1].expand(factor - 1), mask])
    mask = rearrange(mask, "(t m) -> 1 m t 1 1", m=factor).expand(-1, -1, -1, *shape[3:])
    nothing = torch.zeros(shape[2], dtype=torch.bool, device=latents.device)
    return Conditioning(nothing, channels=torch.cat([mask, latents], dim=1))


def encode(vae: VAE, chunks: Iterable[Float[Tensor, "1 3 f H W"]]) -> Float[Tensor, "1 z t h w"]:
    """Normalised float32 latents of a clip that comes in chunks of any size."""
    weight = next(vae.parameters())
    pixels = (chunk.to(weight) for chunk in chunks)
    latents = vae.encode_stream(pixels, vae.stream())
    return vae.normalize(torch.cat([part.float() for part in latents], dim=2))


def _blank_between(first: Tensor, last: Tensor | None, frames: int) -> Iterator[Tensor]:
    """A clip of `frames` frames, grey (0) except for its ends, in chunks."""
    yield first
    for start in range(1, frames, _CHUNK):
        blank = torch.zeros_like(first).repeat(1, 1, min(_CHUNK, frames - start), 1, 1)
        if last is not None and start + blank.shape[2] == frames:
            blank[:, :, -1:] = last
        yield blank
