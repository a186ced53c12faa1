"""Held-out prompts, the scenes that they describe, and whether a clip shows them."""

from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from model.training import captions, scenes
from model.training.detector import GRAY, HEADS, Seen
from model.training.rendering import render
from model.training.scenes import STYLES, Scenes

SIZES = ((160, 256), (192, 192), (256, 160))  # height, width
FPS = 16
CLIP = 25  # frames of a short clip, and of one that is gone on from
WINDOW = 65


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt, the scene that it describes, and the size to make it at."""

    prompt: str
    scene: Scenes  # of one
    height: int
    width: int
    seed: int

    def real(self, frames: int = CLIP) -> Tensor:
        """The rendered clip `[1, 3, frames, h, w]`; a longer one has a shorter in its middle."""
        return render(self.scene, frames, self.height, self.width)[0]

    def later(self, frames: int, seconds: float) -> Tensor:
        """`frames` of how the scene goes on that opens as a window, so many seconds after that."""
        scene = replace(self.scene, phase=self.scene.phase + seconds)
        length = (WINDOW - 1) / FPS
        return render(scene, frames, self.height, self.width, length=length)[0]


def cases(count: int, *, seed: int = 2026) -> list[Case]:
    """Prompts that name every attribute, all of shape-colour pairs that training never showed, in
    words that training often said.
    """
    return [case(i, *size_of(i), seed=seed) for i in range(count)]


def size_of(i: int) -> tuple[int, int]:
    """The size of the i-th of these prompts: every second one is wide."""
    return SIZES[0] if i % 2 else SIZES[1 + i // 2 % 2]


def case(i: int, height: int, width: int, *, seed: int = 2026) -> Case:
    """The i-th of these prompts, for a size."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + i)
    scene = scenes.sample(
        1, generator, held_out=True, aspect=width / height, layout="alone", camera="fixed"
    )
    prompt = captions.describe(scene, generator, complete=True, rarely=0)[0]
    return Case(prompt, scene, height, width, seed + i)


def right(seen: Seen, scene: Scenes, k: int = 0) -> dict[str, bool | None]:
    """Which attributes of one clip are as asked, those of the scene's k-th object and of its
    surroundings; None where the style hides the colour.
    """
    out: dict[str, bool | None] = {}
    for name in HEADS:
        asked = getattr(scene, name)[0]
        out[name] = bool(getattr(seen, name)[0] == (asked[k] if asked.dim() else asked))
    if STYLES[int(scene.style[0])] in GRAY:
        out["colour"] = None
    return out


def coloured(scene: Scenes) -> Scenes:
    """The same scenes in a style that shows colours."""
    hides = torch.isin(scene.style, torch.tensor([STYLES.index(name) for name in GRAY]))
    return replace(scene, style=torch.where(hides, scene.style % 2, scene.style))


def recoloured(scene: Scenes, generator: torch.Generator) -> Scenes:
    """One scene with its first object in another colour, any that can be seen there."""
    fits = scenes.choices(held_out=False) | scenes.choices(held_out=True)
    fits = fits[scene.background[0], scene.style[0], scene.shape[0, 0]]
    fits[scene.colour[0, 0]] = False
    colour = scene.colour.clone()
    colour[:, 0] = torch.multinomial(fits.float(), 1, generator=generator)
    return replace(scene, colour=colour)


def to_image(frame: Tensor) -> Image.Image:
    """A frame `[3, h, w]` in [-1, 1] as a picture."""
    pixels = ((frame + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0)
    return Image.fromarray(pixels.numpy())


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    return float(-10 * torch.log10(((a - b) ** 2).mean().clamp(min=1e-10) / 4))
