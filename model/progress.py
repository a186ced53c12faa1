"""How far a clip is: the pieces of work that are done, and a state to go on from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from model.place import Place

__all__ = ["Counts", "Progress", "Stage"]

Stage = Literal["text", "denoise", "decode"]
Preview = Callable[[], UInt8[Tensor, "h w 3"]]


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` of `steps` pieces of a stage's work are done, over the whole clip.

    Windows are denoised and decoded in turns, so the stages take turns as well. `state` gives the
    tensors that `Pipeline.generate` goes on from; frames that are only about to be yielded count as
    still to come. `preview` decodes a picture from the middle of what is being denoised.
    """

    stage: Stage
    step: int
    steps: int
    state: Callable[[], dict[str, Tensor]] = field(
        default=dict[str, Tensor], compare=False, repr=False
    )
    preview: Preview | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class Counts:
    """Pieces of work in denoising and decoding: how many there are and how many are done."""

    report: Callable[[Progress], None]
    denoise: int
    decode: int
    denoised: int = 0
    decoded: int = 0
    _last: Progress | None = None

    def text(self, place: Place) -> None:
        """The prompts are encoded."""
        self._say(Progress("text", 1, 1, place.tensors))

    def denoise_piece(self, place: Place, preview: Preview | None = None) -> None:
        """A step is done, or a tile of one, or a latent frame is enlarged."""
        self.denoised += 1
        self._say(Progress("denoise", self.denoised, self.denoise, place.tensors, preview))

    def decode_piece(self, place: Place) -> None:
        """The frames of one latent frame are decoded."""
        self.decoded += 1
        self._say(Progress("decode", self.decoded, self.decode, place.tensors))

    def again(self) -> None:
        """Work is done that was done before; only whoever listens may stop it."""
        if self._last is not None:
            self.report(self._last)

    def _say(self, progress: Progress) -> None:
        # What is reported must not change what is computed, nor leave gradients switched off.
        self._last = progress
        with torch.enable_grad():
            self.report(progress)
