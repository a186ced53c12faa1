"""The names of the axes, and how a clip's size becomes latents and tokens.

Every public signature of `model` spells its shapes with the same letters:

    b batch · c channels · f pixel frames · t latent frames · h height · w width
    n tokens · d width of the network · k heads · e width of a head · l text length

`h` and `w` are pixels beside `f` and latent cells beside `t`.
"""

from typing import NamedTuple

__all__ = ["TokenGrid", "latent_frames", "pixel_frames"]


class TokenGrid(NamedTuple):
    """Tokens along time, height and width; row-major, so width runs fastest."""

    t: int
    h: int
    w: int

    @property
    def n(self) -> int:
        return self.t * self.h * self.w


def latent_frames(frames: int, factor: int) -> int:
    """Latent frames of a clip: the first frame alone, then one for every `factor` frames."""
    if frames < 1 or (frames - 1) % factor:
        raise ValueError(f"frames: must be {factor}k + 1 (1, {factor + 1}, …), not {frames}")
    return (frames - 1) // factor + 1


def pixel_frames(latent: int, factor: int) -> int:
    """Frames that `latent` latent frames decode to."""
    return (latent - 1) * factor + 1
