"""How backgrounds, and objects on them, look in a style."""

import torch
from torch import Tensor

from model.training.grounds import DIM, Ground
from model.training.objects import SOFT, Drawn
from model.training.tones import brightness, mottle
from model.training.view import Placed, View, offsets, turned

#: How far from its middle an object, with its shadow or halo, reaches in a style, in radii.
REACH = {"flat": 1.3, "shaded": 1.5, "bw": 1.3, "sketch": 1.4, "watercolour": 1.4, "neon": 1.7}
# Thickness of lines, half heights.
OUTLINE, PENCIL, TUBE, HALO = 0.024, 0.018, 0.020, 0.10


def dim_ones(names: list[str], like: Tensor) -> Tensor:
    """1 where film shows a background dark, else 0, `[n, 1, 1, 1, 1]`."""
    dims = torch.tensor([float(n in DIM) for n in names]).to(like.device, non_blocking=True)
    return dims.view(-1, 1, 1, 1, 1)


def treat(style: str, picture: Tensor, ground: Ground, dim: Tensor) -> Tensor:
    """A background in a style."""
    if style == "bw":
        # Either half of the greys is left to what stands in front of it.
        return (brightness(picture) * (0.56 - 0.12 * dim) + 0.44 * (1 - dim)).expand_as(picture)
    if style == "sketch":
        return (0.71 + 0.22 * brightness(picture)).expand_as(picture)
    if style == "watercolour":
        pigment = 0.58 + 0.13 * mottle(2.2 * ground.x, 2.2 * ground.y)
        return 0.97 - (0.97 - picture) * pigment
    if style == "neon":
        return picture * 0.3
    return picture


def dark(pictures: Tensor) -> Tensor:
    """Which film is dark: one frame and channel tell, as all of it is on one side of a half."""
    return (pictures[:, 0, 0].mean((1, 2)) < 0.47).float()


def composite(
    style: str, back: Tensor, dim: Tensor, drawn: Drawn, fill: Tensor, placed: Placed, view: View
) -> tuple[Tensor, Tensor]:
    """Objects on their backgrounds, all in one style, and their coverage; `dim` `[n]` is 1 where
    the background is dark.
    """
    edge, lines, paint = drawn
    pixel = view.pixel
    cover = (0.5 - edge / pixel).clamp_(0, 1)
    p, q = offsets(placed, view)
    if style == "flat":
        line = ((edge + OUTLINE) / pixel).add_(0.5).clamp_(0, 1)
        ink = (0.25 * fill + 0.12)[:, :, None, None, None]
        return torch.lerp(back, torch.lerp(paint, ink, line[:, None]), cover[:, None]), cover
    if style == "shaded":
        # One lamp, upper left: brightness falls with the distance from the highlight.
        from_highlight = (p + 0.35).square() + (q + 0.4).square()
        light = (1.12 - 0.42 * from_highlight.sqrt()).clamp_(0.25, 1.0)
        glow = from_highlight.div_(-0.05).exp_().mul_(0.75)
        ground = ((p * 0.9).square() + ((q - 1.15) / 0.22).square()).sqrt_()
        shadow = 1 - 0.35 * (1.25 - ground).clamp_(0, 1)
        light, glow, shadow = light[:, None], glow[:, None], shadow[:, None]
        # Light, then a white highlight: paint * light * (1 - glow) + glow.
        lit = paint * (light * (1 - glow)) + glow
        return torch.lerp(back * shadow, lit, cover[:, None]), cover
    if style == "bw":
        dim = dim[:, None, None, None, None]
        grey = brightness(paint) * 0.32 + (0.05 + 0.60 * dim)
        return torch.lerp(back, grey, cover[:, None]), cover
    u, v = turned(placed, p, q)
    if style == "sketch":
        tone = 1 - brightness(paint)
        hatch = (torch.sin((u + v) * 9.0) * 2.0).clamp_(0, 1)
        line = (1.0 - (lines - PENCIL) / pixel).clamp_(0, 1)
        page = 0.93 - 0.35 * tone * hatch[:, None]
        return torch.lerp(back, page, cover[:, None]) * (1 - 0.85 * line)[:, None], cover
    if style == "watercolour":
        cover = (0.5 - edge / max(SOFT, pixel)).clamp_(0, 1)
        rim = (1 + edge / (0.16 * placed.radius[..., None, None])).clamp_(0, 1).square_()[:, None]
        pigment = 0.80 + 0.12 * mottle(4 * u, 4 * v)[:, None]
        # Pigment gathers along the edge; white has none, so the edge itself darkens as well.
        wet = (0.97 - 0.14 * rim) - (0.97 - paint) * (pigment + 0.16 * rim)
        return torch.lerp(back, wet.clamp_(0, 1), 0.95 * cover[:, None]), cover
    # Neon: a tube along the lines, a halo about it, and a dim glow inside.
    core = (lines / TUBE).square_().neg_().exp_()
    halo = (
        lines.div(-HALO).exp_().mul_((1 - (p.square() + q.square()) / REACH["neon"] ** 2).clamp_(0))
    )
    glow = torch.lerp(back, 0.25 * paint, 0.9 * cover[:, None])
    own = fill[:, :, None, None, None]
    glow = glow + own * (0.55 * halo[:, None])
    return torch.lerp(glow, 0.75 * own + 0.25, core[:, None]).clamp_(0, 1), cover
