"""What is measured in pictures by means of a mask: means inside it, a close-up, the flow around it.

Places are in half picture heights, as those of scenes are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

#: Pixels of the picture of the object alone, and how far it goes: so many of its own deviations.
CLOSE, REACH = 32, 2.1

#: From how much change on it counts as any: with little, faint clouds say no less than edges; with
#: more, noise says less. Flows are measured with both.
EVEN = (1e-3, 1e-1)
#: Half heights that a camera pans between frames that are looked at.
STEP = 0.05


def shares(weight: Tensor) -> Tensor:
    """Weights of places `[n, 1, h, w]` as shares of their sum."""
    return weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-3)


def ruler(count: int, reach: float, like: Tensor) -> Tensor:
    """Where the middles of `count` cells lie between -reach and reach."""
    return ((torch.arange(count, device=like.device) + 0.5) * (2 / count) - 1) * reach


def close_up(pictures: Tensor, mask: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The object alone, at one size wherever it is: colours and mask `[n, 4, 32, 32]`.

    Masks `[n, 1, h, w]` lie at columns `x` `[w]` and rows `y` `[h, 1]`.
    """
    weight = shares(mask**2)
    cx, cy = ((weight * axis).sum((1, 2, 3))[:, None, None] for axis in (x, y))
    spread = (weight * ((x - cx[..., None]) ** 2 + (y - cy[..., None]) ** 2)).sum((1, 2, 3))
    reach = (REACH * spread.sqrt()).clamp(0.15, 1.5)[:, None, None]
    cells = ruler(CLOSE, 1, mask)
    over = x[-1] * len(x) / (len(x) - 1)  # half the picture's width
    u, v = (cx + reach * cells) / over, cy + reach * cells[:, None]
    grid = torch.stack([u.expand(-1, CLOSE, -1), v.expand(-1, -1, CLOSE)], -1)
    parts = (pictures, mask * 2 - 1)
    return torch.cat([F.grid_sample(part, grid, align_corners=False) for part in parts], 1)


def flow(maps: Tensor, clear: Tensor, x: Tensor, y: Tensor, even: float) -> Tensor:
    """How what is `clear` moves from frame to frame: along x, along y, and away from the middle.

    `maps` `[b, f, c, h, w]`, `clear` `[b, f, 1, h, w]`; least squares over all frames and places of
    the brightness that stays what it is (Lucas and Kanade 1981), `[b, 3]`. Places in which more
    than `even` changes, or would by so small a step as a camera takes, count less.
    """
    step_x, step_y = x[1] - x[0], (y[1] - y[0])[0]
    middle = (maps[:, 1:] + maps[:, :-1]) / 2
    across = (middle[..., 1:-1, 2:] - middle[..., 1:-1, :-2]) / (2 * step_x)
    down = (middle[..., 2:, 1:-1] - middle[..., :-2, 1:-1]) / (2 * step_y)
    change = (maps[:, 1:] - maps[:, :-1])[..., 1:-1, 1:-1]
    weight = (clear[:, 1:] * clear[:, :-1])[..., 1:-1, 1:-1]
    strength = ((across**2 + down**2) * STEP**2 + change**2).sum(2, keepdim=True)
    weight = weight / (strength + even)
    slopes = torch.stack([across, down, x[1:-1] * across + y[1:-1] * down], -1)  # b f c h w 3
    weighted = (slopes * weight[..., None]).flatten(1, 4)
    slopes, change = slopes.flatten(1, 4), change.flatten(1, 4)
    squares = weighted.transpose(1, 2) @ slopes
    ridge = 1e-3 * squares.diagonal(dim1=1, dim2=2).mean(1) + 1e-4
    squares = squares + ridge[:, None, None] * torch.eye(3, device=maps.device)
    change = weighted.transpose(1, 2) @ change[..., None]
    return -torch.linalg.solve_ex(squares, change).result[..., 0]  # waits for no device
