"""Two objects in one scene: which ones, where they stand, and their picture.

Both are scenes of their own on the same background, in the same style. The first is left of the
second, or above it, and in front of it where they meet.
"""

from dataclasses import replace

import torch
from torch import Tensor

from model.training import scenes
from model.training.scenes import MOTIONS, Scenes

#: How far from the middle each stands, as a share of the picture's reach, and how far it may stray.
APART, STRAY = 0.48, 0.06
#: Of how many the objects stand still, so that most stay where they are.
STILL = 0.4


def sample(
    count: int, generator: torch.Generator, *, held_out: bool = False, aspect: float = 1.0
) -> tuple[Scenes, Scenes]:
    """Draw `count` pairs, of two colours; `held_out` as of `scenes.sample`."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    first, other = (
        scenes.sample(count, generator, held_out=held_out, aspect=aspect) for _ in range(2)
    )
    table = scenes.allowed(held_out=held_out)
    fits = table[:, 2] == first.background[:, None]
    fits &= table[:, 1] != first.colour[:, None]
    row = table[torch.multinomial(fits.float(), 1, generator=generator)[:, 0]]
    across = uniform(count) < (0.5 if aspect == 1 else float(aspect > 1))
    reach = torch.where(across, aspect, 1.0)
    along = APART * reach * (1 + STRAY * (2 * uniform(2, count) - 1)) * torch.tensor([[-1], [1]])
    beside = scenes.CENTRED * min(1.0, aspect) * (2 * uniform(2, count) - 1)
    pair = []
    for k, scene in enumerate((first, other)):
        still = uniform(count) < STILL
        motion = torch.where(still, MOTIONS.index("still"), scene.motion)
        x = torch.where(across, along[k], beside[k])
        y = torch.where(across, beside[k], along[k])
        pair.append(replace(scene, motion=motion, x=x, y=y))
    first, second = pair
    shared = {name: getattr(first, name) for name in ("background", "style", "seed")}
    return first, replace(second, shape=row[:, 0], colour=row[:, 1], **shared)


def side_by_side(first: Scenes, second: Scenes) -> Tensor:
    """Which pairs stand beside each other, `[b]`, and not one above the other."""
    return (second.x - first.x).abs() > (second.y - first.y).abs()


def render(
    pair: tuple[Scenes, Scenes], frames: int, height: int, width: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Draw the clips `[b, 3, f, h, w]` in [-1, 1], and what of each object is seen `[b, f, h, w]`.

    Objects are drawn smaller than alone where there is less room.
    """
    aspect = width / height
    first, second = pair
    room = torch.where(side_by_side(first, second), aspect, 1.0)
    scale = (1.5 * APART * room).clamp(max=0.9)[:, None]
    seconds = torch.arange(frames, device=first.x.device) / 16

    def path(scene: Scenes) -> tuple[Tensor, Tensor, Tensor]:
        x, y, r = scenes.track(scene, seconds, scenes.OPENING_S, aspect)
        return x, y, r * scale

    behind, below = scenes.render(second, frames, height, width, path=path(second))
    picture, above = scenes.render(first, frames, height, width, path=path(first), on=behind)
    return picture, (above, below * (1 - above))
