"""Where a clip in the making stands, as tensors that a file can hold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from model.denoise import DenoiseState

__all__ = ["STAGES", "Place", "Tail", "frames_done"]

#: What is done for a window, in order: denoise it (where it is to be enlarged, small), enlarge it,
#: refine it, decode it.
STAGES = ("denoise", "enlarge", "refine", "decode")


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The last latent frames that have been made, from number `start` of the clip on."""

    start: int
    latents: Float[Tensor, "1 z t h w"]

    @property
    def stop(self) -> int:
        return self.start + self.latents.shape[2]

    def add(self, latents: Float[Tensor, "1 z n h w"], keep: int) -> "Tail":
        """With `latents` behind, and only the last `keep`."""
        both = torch.cat([self.latents, latents], 2)
        spare = max(0, both.shape[2] - keep)
        return Tail(self.start + spare, both[:, :, spare:].clone())

    def between(self, start: int, stop: int) -> Float[Tensor, "1 z n h w"]:
        """Latent frames `start` to `stop` of the clip."""
        if not self.start <= start <= stop <= self.stop:
            raise ValueError(f"tail: has {self.start} to {self.stop}, not {start} to {stop}")
        return self.latents[:, :, start - self.start : stop - self.start]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What is needed to go on with a clip; with the request it decides every later frame.

    Window number `window` is at `stage`; `frames` have been given out, and of this window the
    latent frames before number `decoded`. `base` are the latents as they were denoised, `full`
    those that were refined from them (empty where nothing is). `solving` is the denoise loop in its
    middle, `level` the mean and spread of each channel that later windows keep to, `opening` the
    first frames of a loop, `picture` the last frame, where the next window begins with it.
    """

    base: Tail
    full: Tail
    window: int = 0
    stage: int = 0
    frames: int = 0
    decoded: int = 0
    solving: DenoiseState | None = None
    level: Float[Tensor, "2 z"] | None = None
    opening: UInt8[Tensor, "f h w 3"] | None = None
    picture: UInt8[Tensor, "1 h w 3"] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The place as a flat dict of CPU tensors, for a file; `restored` reads it."""
        numbers = (self.window, self.stage, self.frames, self.decoded)
        named: dict[str, Tensor | None] = {
            "base": self.base.latents,
            "full": self.full.latents,
            "level": self.level,
            "opening": self.opening,
            "picture": self.picture,
        }
        if self.solving is not None:
            named |= {f"solving.{k}": v for k, v in self.solving.tensors().items()}
        named["place"] = torch.tensor([*numbers, self.base.start, self.full.start])
        # Copies: a file takes no two names of one memory, and the work goes on.
        return {
            name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in named.items()
            if value is not None
        }

    def restored(self, tensors: Mapping[str, Tensor]) -> "Place":
        """The place that `tensors` were made of; self is where the same clip begins."""
        device = self.base.latents.device
        found = {name: value.to(device) for name, value in tensors.items()}
        try:
            window, stage, frames, decoded, base, full = tensors["place"].tolist()
            solving = {
                name.removeprefix("solving."): value
                for name, value in found.items()
                if name.startswith("solving.")
            }
            restored = replace(
                self,
                base=Tail(base, found["base"]),
                full=Tail(full, found["full"]),
                window=window,
                stage=stage,
                frames=frames,
                decoded=decoded,
                solving=DenoiseState.from_tensors(solving) if solving else None,
                level=found.get("level"),
                opening=tensors.get("opening"),  # frames, which leave the device as they are made
                picture=tensors.get("picture"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"resume: is not the state of a clip: {error}") from error
        for name in ("base", "full"):
            expected, actual = (getattr(place, name).latents.shape for place in (self, restored))
            if len(actual) != len(expected) or (*actual[:2], *actual[3:]) != (
                *expected[:2],
                *expected[3:],
            ):
                raise ValueError(
                    f"resume: its latents are {list(actual)}, those of this request "
                    f"{list(expected)} with any number of frames"
                )
        return restored


def frames_done(state: Mapping[str, Tensor]) -> int:
    """How many frames of its clip were yielded before `state` was taken."""
    if "place" not in state:
        raise ValueError("state: is not the state of a clip: it has no 'place'")
    return int(state["place"][2])
