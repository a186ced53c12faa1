"""Held-out prompts, the scenes that they describe, and whether a clip shows them."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from model.training import captions, rendering, scenes, trajectories
from model.training.detector import ATTRIBUTES, Seen
from model.training.scenes import GRAY, STYLES, Scenes

SIZES = ((160, 256), (192, 192), (256, 160))  # height, width
FPS = 16


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt, the scene that it describes, and the size to make it at."""

    prompt: str
    scene: Scenes  # of one
    height: int
    width: int
    seed: int

    def real(self, frames: int = 25) -> Tensor:
        """The rendered clip `[1, 3, frames, h, w]`; a longer one has a shorter in its middle."""
        return rendering.render(self.scene, frames, self.height, self.width)[0]

    def later(self, frames: int, seconds: float) -> Tensor:
        """`frames` of how the scene goes on, so many seconds after its opening."""
        aspect, times = self.width / self.height, seconds + torch.arange(frames) / FPS
        path = trajectories.track(self.scene, times, trajectories.OPENING_S, aspect)
        size = (frames, self.height, self.width)
        return rendering.render(self.scene, *size, seconds=times, path=path)[0]


def cases(count: int, *, seed: int = 2026) -> list[Case]:
    """Prompts that name every attribute, all of shape-colour pairs that training never showed, in
    words that training often said.
    """
    sizes = (SIZES[0] if i % 2 else SIZES[1 + i // 2 % 2] for i in range(count))
    return [case(i, height, width, seed=seed) for i, (height, width) in enumerate(sizes)]


def case(i: int, height: int, width: int, *, seed: int = 2026) -> Case:
    """The i-th of these prompts, for a size."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + i)
    scene = scenes.sample(1, generator, held_out=True, aspect=width / height)
    prompt = captions.describe(scene, generator, complete=True, rarely=0)[0]
    return Case(prompt, scene, height, width, seed + i)


def right(seen: Seen, scene: Scenes) -> dict[str, bool | None]:
    """Which attributes of one clip are as asked; None where the style hides the colour."""
    out: dict[str, bool | None] = {}
    for name in ATTRIBUTES:
        out[name] = bool(getattr(seen, name)[0] == getattr(scene, name)[0])
    if STYLES[int(scene.style[0])] in GRAY:
        out["colour"] = None
    return out


def to_image(frame: Tensor) -> Image.Image:
    """A frame `[3, h, w]` in [-1, 1] as a picture."""
    pixels = ((frame + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0)
    return Image.fromarray(pixels.numpy())


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    return float(-10 * torch.log10(((a - b) ** 2).mean().clamp(min=1e-10) / 4))
