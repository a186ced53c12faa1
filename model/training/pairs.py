"""Two objects in one scene: which ones, where they stand, and their picture.

Both are scenes of their own on the same background, in the same style. The first is left of the
second, or above it, and in front of it where they meet.
"""

from dataclasses import replace

import torch
from torch import Tensor

from model.training import rendering, scenes, trajectories
from model.training.bending import Bend
from model.training.rendering import Window
from model.training.scenes import MOTIONS, Scenes

#: How far from the middle each stands, as a share of the picture's reach, and how far it may stray.
APART, STRAY = 0.48, 0.06
#: Of how many the objects stand still, so that most stay where they are.
STILL = 0.4
#: Share of the long clips in which one moves across the other, how far from the middle the two are
#: at first, and how much of their stray is left to them: they do meet.
MEET, MIDDLE, EDGE, LEVEL = 0.4, 0.12, 0.85, 0.4
#: Where to the first (-1) and the second (1) move then, where they are beside each other and where
#: one is above the other.
TOWARDS = {-1: ("right", "down"), 1: ("left", "up")}


def sample(
    count: int,
    generator: torch.Generator,
    *,
    held_out: bool = False,
    aspect: float = 1.0,
    later: float = 0.0,
    upright: float = 0.0,
) -> tuple[Scenes, Scenes]:
    """Draw `count` pairs, of two colours; `held_out` and `later` as of `scenes.sample`.

    A share of `upright` pairs in wide pictures stands one above the other, as all do in tall ones.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    first, other = (
        scenes.sample(count, generator, held_out=held_out, aspect=aspect, later=later)
        for _ in range(2)
    )
    table = scenes.allowed(held_out=held_out)
    fits = table[:, 2] == first.background[:, None]
    fits &= table[:, 1] != first.colour[:, None]
    glows = first.style == scenes.STYLES.index("neon")
    fits &= ~(glows[:, None] & scenes.dull(table[:, 1]))
    row = table[torch.multinomial(fits.float(), 1, generator=generator)[:, 0]]
    across = uniform(count) < (0.5 if aspect == 1 else (1 - upright) * float(aspect > 1))
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
    shared = {name: getattr(first, name) for name in ("background", "style", "seed", "phase")}
    motion = scenes.unless_round(second.motion, row[:, 0])
    return first, replace(second, shape=row[:, 0], colour=row[:, 1], motion=motion, **shared)


def last_long(
    pair: tuple[Scenes, Scenes], length: float, generator: torch.Generator, aspect: float
) -> tuple[Scenes, Scenes]:
    """The same pairs, set out so that both are seen for long in a clip of `length` seconds: each
    begins on its own side; some meet, and one of them moves across the other, which stands still.
    """
    across = side_by_side(*pair)
    reach = torch.where(across, aspect, 1.0)
    meet, mover = torch.rand(2, len(reach), generator=generator) < torch.tensor([[MEET], [0.5]])
    parts: list[Scenes] = []
    for side, scene in zip((-1, 1), pair, strict=True):
        radius = trajectories.RADIUS[scene.size]
        x, y = ((room - radius).clamp(min=0) for room in (aspect, 1.0))
        room = torch.where(across, reach / 4, x), torch.where(across, y, reach / 4)
        apart = trajectories.set_out(scene, length, room)

        moves = mover == (side > 0)
        beside, above = (MOTIONS.index(name) for name in TOWARDS[side])
        motion = torch.where(moves, torch.where(across, beside, above), MOTIONS.index("still"))
        middle = MIDDLE * torch.rand(len(reach), generator=generator)
        place = side * reach * torch.where(moves, EDGE, middle)
        place = place - side * moves * trajectories.SPEED[scene.speed] * trajectories.OPENING_S / 2
        x = torch.where(across, place, LEVEL * scene.x)
        y = torch.where(across, LEVEL * scene.y, place)
        parts.append(
            replace(
                scene,
                motion=torch.where(meet, motion, scene.motion),
                x=torch.where(meet, x, apart.x),
                y=torch.where(meet, y, apart.y),
            )
        )
    return parts[0], parts[1]


def side_by_side(first: Scenes, second: Scenes) -> Tensor:
    """Which pairs stand beside each other, `[b]`, and not one above the other."""
    return (second.x - first.x).abs() > (second.y - first.y).abs()


def render(
    pair: tuple[Scenes, Scenes],
    frames: int,
    height: int,
    width: int,
    *,
    fps: float = 16.0,
    seconds: Tensor | None = None,
    window: Window | None = None,
    bends: tuple[list[Bend], list[Bend]] | tuple[None, None] = (None, None),
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Draw the clips `[b, 3, f, h, w]` in [-1, 1], and what of each object is seen `[b, f, h, w]`.

    Objects are drawn smaller than alone where there is less room, and wrong with `bends`; `seconds`
    and `window` as of `rendering.render`.
    """
    aspect = width / height
    first, second = pair
    room = torch.where(side_by_side(first, second), aspect, 1.0)
    scale = (1.5 * APART * room).clamp(max=0.9)[:, None]
    if seconds is None:
        seconds = torch.arange(frames, device=first.x.device) / fps

    def path(scene: Scenes) -> tuple[Tensor, Tensor, Tensor]:
        x, y, r = trajectories.track(
            scene, seconds, trajectories.OPENING_S, aspect, roam=scale * 0.8
        )
        return x, y, r * scale

    def drawn(scene: Scenes, bend: list[Bend] | None, on: Tensor | None) -> tuple[Tensor, Tensor]:
        return rendering.render(
            scene, frames, height, width,
            seconds=seconds, window=window, path=path(scene), bends=bend, on=on,
        )  # fmt: skip

    behind, below = drawn(second, bends[1], None)
    picture, above = drawn(first, bends[0], behind)
    return picture, (above, below * (1 - above))
