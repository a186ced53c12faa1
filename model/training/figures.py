"""The shapes, part by part, from balls to persons."""

import math
from collections.abc import Callable

import torch

from model.training.parts import Body, Part, box, disc, least, limb, oval, polygon

BARK = (0.42, 0.27, 0.15)


def _ball(b: Body) -> list[Part]:
    return [Part(disc(b, 0, 0, 1))]


def _ring(b: Body) -> list[Part]:
    return [Part(disc(b, 0, 0, 0.72).abs_().sub_(0.27))]


def _square(b: Body) -> list[Part]:
    return [Part(box(b, 0, 0, 0.84, 0.84))]


def _triangle(b: Body) -> list[Part]:
    y = b.v - 0.15
    return [Part(torch.maximum(y - 0.57, 0.866 * b.u.abs() - 0.5 * y - 0.57))]


def _star(b: Body) -> list[Part]:
    # Fold the plane into one half of one of five arms; the edge there is a straight line from
    # the tip (angle 0, radius 1.15) to the notch (angle 36 degrees, radius 0.5).
    sector = 2 * math.pi / 5
    angle = torch.atan2(b.u, -b.v)
    angle = (angle - sector * torch.round(angle / sector)).abs_()
    rho = torch.hypot(b.u, b.v)
    tip, notch = (1.15, 0.0), (0.5 * math.cos(sector / 2), 0.5 * math.sin(sector / 2))
    nx, ny = notch[1] - tip[1], tip[0] - notch[0]
    length = math.hypot(nx, ny)
    return [Part((rho * (angle.cos() * nx + angle.sin() * ny) - tip[0] * nx) / length)]


def _heart(b: Body) -> list[Part]:
    # A square on its corner, with a half disc on each of its two upper sides.
    x, y = b.u.abs() * 0.62, 0.62 - b.v * 0.62 - 0.08
    diamond = ((x + (y - 0.5).abs()) - 0.5) * 0.7071
    disc = torch.hypot(x - 0.25, y - 0.75) - 0.35355
    return [Part(torch.minimum(diamond, disc) / 0.62)]


def _cross(b: Body) -> list[Part]:
    return [Part(torch.minimum(box(b, 0, 0, 0.95, 0.32), box(b, 0, 0, 0.32, 0.95)))]


def _diamond(b: Body) -> list[Part]:
    wide, high = 0.66, 1.05
    across = b.u.abs() * high + b.v.abs() * wide
    return [Part(across.sub_(wide * high).div_(math.hypot(wide, high)))]


def _moon(b: Body) -> list[Part]:
    crescent = torch.maximum(disc(b, 0.2, 0, 1), -disc(b, 0.68, -0.12, 0.86))
    # Beyond the line through its two tips, where the circles meet, it is further away than that.
    chord = (b.u * 0.9701).sub_(b.v, alpha=0.2425).sub_(0.7046)
    return [Part(torch.maximum(crescent, chord))]


def _car(b: Body) -> list[Part]:
    cabin = polygon(b.u, b.v, (-0.52, -0.56), (0.22, -0.56), (0.62, 0.04), (-0.86, 0.04))
    rear = polygon(b.u, b.v, (-0.45, -0.42), (-0.2, -0.42), (-0.2, -0.12), (-0.62, -0.12))
    front = polygon(b.u, b.v, (-0.06, -0.42), (0.14, -0.42), (0.33, -0.12), (-0.06, -0.12))
    low = polygon(b.u, b.v, (-1.08, -0.06), (0.75, -0.06), (1.1, 0.1), (1.1, 0.46), (-1.08, 0.46))
    away = b.u.abs() - 0.58
    wheel = torch.hypot(away, b.v - 0.46)
    return [
        Part(torch.minimum(cabin, low)),
        Part(torch.minimum(rear, front), 0.1, (0.70, 0.80, 0.88)),
        Part(disc(b, 0.93, 0.2, 0.085), 0.0, (1.0, 0.92, 0.55)),
        Part(wheel - 0.25, 0.0, (0.13, 0.13, 0.15)),
        Part(wheel - 0.1, 0.0, (0.72, 0.73, 0.75)),
    ]


def _house(b: Body) -> list[Part]:
    roof = polygon(b.u, b.v, (0, -0.95), (1.02, -0.2), (-1.02, -0.2))
    return [
        Part(box(b, 0, 0.37, 0.8, 0.6)),
        Part(box(b, 0.45, -0.6, 0.11, 0.27), 0.35, (0.28, 0.16, 0.13)),
        Part(roof, 0.25, (0.36, 0.14, 0.09)),
        Part(box(b, -0.32, 0.63, 0.16, 0.34), 0.1, (0.30, 0.18, 0.11)),
        Part(box(b, 0.34, 0.22, 0.19, 0.19), 0.05, (0.80, 0.90, 0.95)),
    ]


def _tree(b: Body) -> list[Part]:
    crown = least(disc(b, 0, -0.52, 0.5), torch.hypot(b.u.abs() - 0.4, b.v + 0.05).sub_(0.46))
    return [
        Part(polygon(b.u, b.v, (-0.12, 0.2), (0.12, 0.2), (0.2, 1.0), (-0.2, 1.0)), 0.0, BARK),
        Part(crown),
    ]


def _boat(b: Body) -> list[Part]:
    sail = least(
        polygon(b.u, b.v, (0.06, -0.92), (0.78, 0.1), (0.06, 0.1)),
        polygon(b.u, b.v, (-0.12, -0.62), (-0.12, 0.1), (-0.66, 0.1)),
    )
    hull = polygon(b.u, b.v, (-1.05, 0.2), (1.12, 0.2), (0.72, 0.86), (-0.74, 0.86))
    return [
        Part(box(b, -0.03, -0.35, 0.05, 0.7), 0.0, BARK),
        Part(sail, 0.15, (0.81, 0.81, 0.79)),
        Part(hull),
        Part(box(b, 0.02, 0.3, 0.93, 0.045), 0.4, (0.05, 0.05, 0.05)),
    ]


def _fish(b: Body) -> list[Part]:
    upper = polygon(b.u, b.v, (-0.35, 0.05), (-0.9, 0.05), (-1.12, -0.55))
    lower = polygon(b.u, b.v, (-0.35, -0.05), (-1.12, 0.55), (-0.9, -0.05))
    back = polygon(b.u, b.v, (0.2, -0.75), (0.45, -0.3), (-0.35, -0.3))
    return [
        Part(least(back, upper, lower), 0.7),
        Part(oval(b, 0.2, 0.0, 0.85, 0.52)),
        Part(polygon(b.u, b.v, (0.2, 0.02), (-0.25, 0.32), (-0.15, -0.05)), 0.65),
        Part(disc(b, 0.66, -0.13, 0.13), 0.0, (0.97, 0.97, 0.95)),
        Part(disc(b, 0.69, -0.13, 0.065), 0.0, (0.05, 0.05, 0.08)),
    ]


def _bird(b: Body) -> list[Part]:
    # Wings beat faster and wider in flight; the wing turns about the shoulder.
    beat = (0.25 + 0.55 * b.walks) * torch.sin((5 + 6 * b.walks) * b.now)
    cos, sin = torch.cos(beat + 0.35), torch.sin(beat + 0.35)
    x, y = b.u - 0.1, b.v + 0.05
    x, y = x * cos - y * sin, x * sin + y * cos
    wing = polygon(x, y, (-0.22, -1.02), (0.28, -0.2), (0.22, 0.12), (-0.28, 0.12))
    return [
        Part(polygon(b.u, b.v, (-0.4, -0.05), (-0.4, 0.25), (-1.1, 0.3), (-1.05, 0.0)), 0.8),
        Part(polygon(b.u, b.v, (0.7, -0.42), (1.12, -0.22), (0.7, -0.12)), 0.1, (0.85, 0.55, 0.1)),
        Part(torch.minimum(oval(b, 0.0, 0.12, 0.72, 0.4), disc(b, 0.56, -0.26, 0.3))),
        Part(wing, 0.72),
        Part(disc(b, 0.64, -0.32, 0.07), 0.0, (0.05, 0.05, 0.06)),
    ]


def _rocket(b: Body) -> list[Part]:
    side = b.u.abs()
    hull = torch.maximum(torch.hypot(side + 1.18, b.v + 0.1).sub_(1.60), b.v - 0.5)
    fin = polygon(side, b.v, (0.3, 0.0), (0.78, 0.5), (0.74, 0.82), (0.2, 0.5))
    tip = 0.84 + 0.2 * torch.sin(23 * b.now) * torch.sin(9 * b.now)
    flame = (side - 0.26 * (1 - (b.v - 0.5) / tip.sub(0.3))).mul_(0.85)
    return [
        Part(torch.maximum(flame, 0.45 - b.v), 0.0, (1.0, 0.66, 0.12)),
        Part(fin, 0.3, (0.12, 0.11, 0.14)),
        Part(hull),
        Part(disc(b, 0, -0.28, 0.22), 0.25, (0.20, 0.20, 0.22)),
        Part(disc(b, 0, -0.28, 0.15), 0.0, (0.70, 0.88, 0.97)),
    ]


def _person(b: Body) -> list[Part]:
    stride = 0.34 * b.walks * torch.sin(7 * b.now)
    foot = 0.93 - 0.2 * stride.abs()
    one = limb(b, (0.12, 0.3), 0.13 + stride, foot, 0.12)
    two = limb(b, (-0.12, 0.3), -0.13 - stride, foot, 0.12)
    left = limb(b, (-0.3, -0.32), -0.5 + 0.9 * stride, foot - 0.79, 0.1)
    right = limb(b, (0.3, -0.32), 0.5 - 0.9 * stride, foot - 0.79, 0.1)
    torso = polygon(b.u, b.v, (-0.32, -0.44), (0.32, -0.44), (0.38, 0.4), (-0.38, 0.4))
    return [
        Part(torch.minimum(one, two), 0.15, (0.17, 0.17, 0.22)),
        Part(least(torso, left, right)),
        Part(disc(b, 0, -0.74, 0.27), 0.0, (0.93, 0.72, 0.56)),
        Part(torch.maximum(disc(b, -0.02, -0.77, 0.28), b.v + 0.80), 0.0, (0.28, 0.17, 0.10)),
    ]


SHAPES: dict[str, Callable[[Body], list[Part]]] = {
    "ball": _ball,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
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
