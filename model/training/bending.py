"""Scenes drawn wrong: outlines that waver, melt into another shape, are stretched or out of place.

They stand for what the transformer makes of a shape where noise left it open. From such a clip
under noise the transformer is asked for the true one, so that it mends what it has begun instead of
taking it for the truth. (The flow loss by itself shows it true clips alone.)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.training.drawing import Drawn, distance

#: How many waves displace an outline, and how far all of them at most, in half object heights.
WAVES, WAVER = 3, 0.3
#: How far an object is out of its place, and the logarithm of its stretching: standard deviations.
PLACE, STRETCH = 0.06, 0.1
#: How much of another shape may be in an object, and how often any is.
MELTED, MELTS = 0.7, 0.6
#: How much farther from its middle an object may then be.
REACH = 1.4
#: How fast all of that changes, in radians a second.
RATE = 8.0


@dataclass(frozen=True, slots=True)
class Bend:
    """How one scene's object is drawn wrong, and into which shape it melts."""

    other: str
    wave: Tensor  # [WAVES, 2 axes, 4]: frequencies along u and v, phase, rate
    size: Tensor  # [WAVES, 2 axes], of the waves
    place: Tensor  # [2 axes, 2]: how far, phase
    stretch: Tensor  # [2]: how far, phase
    melt: Tensor  # [2]: how far, phase
    rate: float  # of place, stretch and melt

    @classmethod
    def drawn(cls, shapes: tuple[str, ...], generator: torch.Generator) -> "Bend":
        """Any bend, most of them small."""

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator)

        phases = uniform(3, 2) * 2 * math.pi
        wave = uniform(WAVES, 2, 4)
        wave[..., :2] = (wave[..., :2] * 2 - 1) * 4
        wave[..., 2] *= 2 * math.pi
        wave[..., 3] = (wave[..., 3] * 2 - 1) * RATE
        place = torch.stack([PLACE * torch.randn(2, generator=generator), phases[0]], 1)
        stretch = STRETCH * float(torch.randn((), generator=generator))
        melted = MELTED * float(uniform(1)) * float(uniform(1) < MELTS)
        return cls(
            other=shapes[int(torch.randint(len(shapes), (), generator=generator))],
            wave=wave,
            size=uniform(WAVES, 2) * float(uniform(1)) * WAVER / WAVES,
            place=place,
            stretch=torch.stack([torch.tensor(stretch), phases[1, 0]]),
            melt=torch.stack([torch.tensor(melted), phases[2, 0]]),
            rate=RATE * float(uniform(1)),
        )

    def where(self, u: Tensor, v: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Object coordinates u `[f, 1, w]` and v `[f, h, 1]` displaced, both `[f, h, w]`."""
        t = seconds[:, None, None]
        turn = self.rate * t
        stretch = torch.exp(self.stretch[0] * torch.sin(turn + self.stretch[1]))
        out = []
        for axis, own in enumerate((u * stretch, v / stretch)):
            moved = own + self.place[axis, 0] * torch.sin(turn + self.place[axis, 1])
            for (along_u, along_v, phase, rate), size in zip(
                self.wave[:, axis].tolist(), self.size[:, axis].tolist(), strict=True
            ):
                moved = moved + size * torch.sin(along_u * u + along_v * v + phase + rate * t)
            out.append(moved)
        return out[0], out[1]

    def melted(self, thing: Drawn, u: Tensor, v: Tensor, seconds: Tensor) -> Drawn:
        """An object whose outline is partly another's; what is inside of it stays."""
        if not self.melt[0]:
            return thing
        swing = torch.sin(self.rate * seconds + self.melt[1])[:, None, None]
        edge = thing.edge.lerp(distance(self.other, u, v), self.melt[0] * (0.5 + 0.5 * swing))
        inner = thing.lines.masked_fill(thing.lines >= thing.edge.abs(), math.inf)
        lines = torch.minimum(edge.abs(), torch.maximum(inner, edge))
        return Drawn(edge, lines, thing.paint)
