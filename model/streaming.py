"""What a causal network remembers between two chunks of one sequence."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True)
class Stream:
    """Causal history of one sequence that passes through a network chunk by chunk.

    past    each causal layer's last input frames, by the layer's name, [b, frames, h, w, c]
    frames  latent frames already passed; 0 means that the next chunk begins the sequence
    whole   the next chunk is all there is, so nothing is kept

    Its size depends on the layers and the picture, never on how long the sequence has been.
    """

    past: dict[str, Tensor] = field(default_factory=dict)
    frames: int = 0
    whole: bool = False

    @property
    def begins(self) -> bool:
        """The next chunk is the first of its sequence."""
        return self.frames == 0

    def extend(self, layer: str, x: Tensor, keep: int) -> Tensor:
        """`x` [b, t, h, w, c] with the layer's `keep` frames of history (zeros at first) before it."""
        past = self.past.get(layer)
        if past is None:
            past = x.new_zeros(x.shape[0], keep, *x.shape[2:])
        x = torch.cat([past, x], 1)
        if not self.whole:
            self.past[layer] = x[:, x.shape[1] - keep :].clone()
        return x

    def tensors(self) -> dict[str, Tensor]:
        """The state as a flat dict, for a file; `from_tensors` reads it."""
        return {"frames": torch.tensor(self.frames), **{f"past.{k}": v for k, v in self.past.items()}}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Stream":
        """The state that `tensors()` wrote."""
        if "frames" not in tensors:
            raise ValueError("stream state: key 'frames' is missing, so this is not a saved Stream")
        past = {k.removeprefix("past."): v for k, v in tensors.items() if k.startswith("past.")}
        return cls(past, int(tensors["frames"]))
