"""Shapes that are painted part by part, from crosses to persons.

They look to the right, or at the viewer. Each is a function from a body to its parts, of which a
later one lies on those before it.
"""

from collections.abc import Callable

import torch

from model.training.parts import Body, Part, box, disc, least, limb, oval, polygon

BARK = (0.42, 0.27, 0.15)


def _cross(b: Body) -> list[Part]:
    return [Part(torch.minimum(box(b.u, b.v, 0, 0, 0.95, 0.32), box(b.u, b.v, 0, 0, 0.32, 0.95)))]


def _diamond(b: Body) -> list[Part]:
    wide, high = 0.66, 1.05
    length = (wide * wide + high * high) ** 0.5
    across = b.u.abs() * (high / length) - wide * high / length
    return [Part(across + b.v.abs() * (wide / length))]


def _moon(b: Body) -> list[Part]:
    crescent = torch.maximum(disc(b.u, b.v, 0.2, 0, 1), -disc(b.u, b.v, 0.68, -0.12, 0.86))
    # Beyond the line through its two tips, where the circles meet, it is further away than that.
    return [Part(torch.maximum(crescent, (b.u * 0.9701 - 0.7046) - b.v * 0.2425))]


def _car(b: Body) -> list[Part]:
    u, v = b.u, b.v
    cabin = polygon(u, v, (-0.52, -0.56), (0.22, -0.56), (0.62, 0.04), (-0.86, 0.04))
    rear = polygon(u, v, (-0.45, -0.42), (-0.2, -0.42), (-0.2, -0.12), (-0.62, -0.12))
    front = polygon(u, v, (-0.06, -0.42), (0.14, -0.42), (0.33, -0.12), (-0.06, -0.12))
    low = polygon(u, v, (-1.08, -0.06), (0.75, -0.06), (1.1, 0.1), (1.1, 0.46), (-1.08, 0.46))
    wheel = disc(u.abs(), v, 0.58, 0.46, 0.25)
    return [
        Part(torch.minimum(cabin, low)),
        Part(torch.minimum(rear, front), 0.1, (0.70, 0.80, 0.88)),
        Part(disc(u, v, 0.93, 0.2, 0.085), 0.0, (1.0, 0.92, 0.55)),
        Part(wheel, 0.0, (0.13, 0.13, 0.15)),
        Part(wheel + 0.15, 0.0, (0.72, 0.73, 0.75)),
    ]


def _house(b: Body) -> list[Part]:
    u, v = b.u, b.v
    roof = polygon(u, v, (0, -0.95), (1.02, -0.2), (-1.02, -0.2))
    return [
        Part(box(u, v, 0, 0.37, 0.8, 0.6)),
        Part(box(u, v, 0.45, -0.6, 0.11, 0.27), 0.35, (0.28, 0.16, 0.13)),
        Part(roof, 0.25, (0.36, 0.14, 0.09)),
        Part(box(u, v, -0.32, 0.63, 0.16, 0.34), 0.1, (0.30, 0.18, 0.11)),
        Part(box(u, v, 0.34, 0.22, 0.19, 0.19), 0.05, (0.80, 0.90, 0.95)),
    ]


def _tree(b: Body) -> list[Part]:
    u, v = b.u, b.v
    crown = least(disc(u, v, 0, -0.52, 0.5), disc(u.abs(), v, 0.4, -0.05, 0.46))
    return [
        Part(polygon(u, v, (-0.12, 0.2), (0.12, 0.2), (0.2, 1.0), (-0.2, 1.0)), 0.0, BARK),
        Part(crown),
    ]


def _boat(b: Body) -> list[Part]:
    u, v = b.u, b.v
    sail = least(
        polygon(u, v, (0.06, -0.92), (0.78, 0.1), (0.06, 0.1)),
        polygon(u, v, (-0.12, -0.62), (-0.12, 0.1), (-0.66, 0.1)),
    )
    hull = polygon(u, v, (-1.05, 0.2), (1.12, 0.2), (0.72, 0.86), (-0.74, 0.86))
    return [
        Part(box(u, v, -0.03, -0.35, 0.05, 0.7), 0.0, BARK),
        Part(sail, 0.15, (0.81, 0.81, 0.79)),
        Part(hull),
        Part(box(u, v, 0.02, 0.3, 0.93, 0.045), 0.4, (0.05, 0.05, 0.05)),
    ]


def _fish(b: Body) -> list[Part]:
    u, v = b.u, b.v
    upper = polygon(u, v, (-0.35, 0.05), (-0.9, 0.05), (-1.12, -0.55))
    lower = polygon(u, v, (-0.35, -0.05), (-1.12, 0.55), (-0.9, -0.05))
    back = polygon(u, v, (0.2, -0.75), (0.45, -0.3), (-0.35, -0.3))
    return [
        Part(least(back, upper, lower), 0.7),
        Part(oval(u, v, 0.2, 0.0, 0.85, 0.52)),
        Part(polygon(u, v, (0.2, 0.02), (-0.25, 0.32), (-0.15, -0.05)), 0.65),
        Part(disc(u, v, 0.66, -0.13, 0.13), 0.0, (0.97, 0.97, 0.95)),
        Part(disc(u, v, 0.69, -0.13, 0.065), 0.0, (0.05, 0.05, 0.08)),
    ]


def _bird(b: Body) -> list[Part]:
    u, v = b.u, b.v
    # The wing turns about the shoulder.
    beat = 0.35 + 0.7 * b.goes * torch.sin(11 * b.now)
    cos, sin = beat.cos(), beat.sin()
    x, y = u - 0.1, v + 0.05
    x, y = x * cos - y * sin, x * sin + y * cos
    wing = polygon(x, y, (-0.22, -1.02), (0.28, -0.2), (0.22, 0.12), (-0.28, 0.12))
    body = torch.minimum(oval(u, v, 0.0, 0.12, 0.72, 0.4), disc(u, v, 0.56, -0.26, 0.3))
    return [
        Part(polygon(u, v, (-0.4, -0.05), (-0.4, 0.25), (-1.1, 0.3), (-1.05, 0.0)), 0.8),
        Part(polygon(u, v, (0.7, -0.42), (1.12, -0.22), (0.7, -0.12)), 0.1, (0.85, 0.55, 0.1)),
        Part(body),
        Part(wing, 0.72),
        Part(disc(u, v, 0.64, -0.32, 0.07), 0.0, (0.05, 0.05, 0.06)),
    ]


def _rocket(b: Body) -> list[Part]:
    v, side = b.v, b.u.abs()
    hull = torch.maximum(disc(side, v, -1.18, -0.1, 1.60), v - 0.5)
    fin = polygon(side, v, (0.3, 0.0), (0.78, 0.5), (0.74, 0.82), (0.2, 0.5))
    high = 0.54 + 0.2 * b.goes * torch.sin(23 * b.now) * torch.sin(9 * b.now)
    flame = (side - 0.26) * 0.85 + (v - 0.5) * (0.22 / high)
    return [
        Part(torch.maximum(flame, 0.45 - v), 0.0, (1.0, 0.66, 0.12)),
        Part(fin, 0.3, (0.12, 0.11, 0.14)),
        Part(hull),
        Part(disc(side, v, 0, -0.28, 0.22), 0.25, (0.20, 0.20, 0.22)),
        Part(disc(side, v, 0, -0.28, 0.15), 0.0, (0.70, 0.88, 0.97)),
    ]


def _person(b: Body) -> list[Part]:
    u, v = b.u, b.v
    stride = 0.34 * b.goes * torch.sin(7 * b.now)
    foot = 0.93 - 0.2 * stride.abs()
    one = limb(u, v, (0.12, 0.3), (0.13 + stride, foot), 0.12)
    two = limb(u, v, (-0.12, 0.3), (-0.13 - stride, foot), 0.12)
    left = limb(u, v, (-0.3, -0.32), (-0.5 + 0.9 * stride, foot - 0.79), 0.1)
    right = limb(u, v, (0.3, -0.32), (0.5 - 0.9 * stride, foot - 0.79), 0.1)
    torso = polygon(u, v, (-0.32, -0.44), (0.32, -0.44), (0.38, 0.4), (-0.38, 0.4))
    hair = torch.maximum(disc(u, v, -0.02, -0.77, 0.28), v + 0.80)
    return [
        Part(torch.minimum(one, two), 0.15, (0.17, 0.17, 0.22)),
        Part(least(torso, left, right)),
        Part(disc(u, v, 0, -0.74, 0.27), 0.0, (0.93, 0.72, 0.56)),
        Part(hair, 0.0, (0.28, 0.17, 0.10)),
    ]


FIGURES: dict[str, Callable[[Body], list[Part]]] = {
    "cross": _cross,
    "diamond": _diamond,
    "moon": _moon,
    "car": _car,
    "house": _house,
    "tree": _tree,
    "boat": _boat,
    "fish": _fish,
    "bird": _bird,
    "rocket": _rocket,
    "person": _person,
}
