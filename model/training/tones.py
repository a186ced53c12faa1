"""Colours and greys, which backgrounds, objects and styles share."""

import torch
from torch import Tensor


def rgb(like: Tensor, r: float, g: float, b: float) -> Tensor:
    """A colour `[3, 1, 1, 1]`, brought to a device without waiting for it."""
    return torch.tensor((r, g, b), dtype=torch.float32).to(like.device, non_blocking=True)[
        :, None, None, None
    ]


def brightness(pictures: Tensor) -> Tensor:
    """Brightness `[n, 1, ...]` of pictures `[n, 3, ...]`."""
    red, green, blue = pictures.split(1, dim=1)
    return (0.30 * red).add_(green, alpha=0.59).add_(blue, alpha=0.11)


def mottle(x: Tensor, y: Tensor) -> Tensor:
    """Soft blotches, -1 to 1."""
    first = torch.sin(x + 1.3 * torch.sin(0.8 * y))
    return (first + torch.sin(1.7 * y + 1.9 * torch.sin(0.9 * x + 1))) / 2
