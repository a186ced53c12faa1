"""Clips whose end is given: objects that are led there, and the end as a request gives it.

A loop, a last picture and a clip that leads to another one ask for an end that the motion in the
prompt would not reach. Such a clip moves as its prompt says where it is given, and is led between.
What is made before a given clip, with nothing before it, moves as that does.
"""

import torch
from torch import Tensor

from model.given import PAST
from model.training import scenes
from model.training.scenes import Scenes
from model.training.tracks import Path, track
from model.vae import VAE

#: Frames of a latent frame.
FACTOR = 4


def lead(batch: Scenes, frames: int, aspect: float, tail: int, generator: torch.Generator) -> Path:
    """Paths as of `tracks.track`, led to some end, half of them to where they began.

    With two latent frames at the end given, the objects move on in them. With one they have arrived
    and rest, as one picture says nothing of motion.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    n, arrival = batch.x.shape, frames - FACTOR * tail
    number = torch.arange(frames).float()
    if tail == 1:  # slows down over its last half, and stands from its arrival on
        late = ((number - arrival / 2) / (arrival / 2)).clamp(0, 1)
        number = number.clamp(max=arrival) - late**2 * arrival / 4
    length = scenes.OPENING_S
    x, y, r, angle = track(batch, number / 16, length, aspect, wraps=False)
    inside = track(batch, number[:1] / 16, length, aspect)
    x, y = x - x[..., :1] + inside.x, y - y[..., :1] + inside.y
    departure = (FACTOR * torch.randint(frames // 8, (n[0], 1), generator=generator) + 1).float()
    way = ((torch.arange(frames)[None] - departure) / (arrival - departure)).clamp(0, 1)
    way = (way * way * (3 - 2 * way))[:, None]  # b 1 f
    back = uniform(n[0], 1) < 0.5
    # What is alone may end anywhere; others keep their places, nearly.
    alone = (batch.count == 1)[:, None]
    span_x = torch.where(alone, 0.8 * aspect, 0.15)
    span_y = torch.where(alone, 0.7, 0.15)
    far_x = (uniform(*n) * 2 - 1) * span_x + torch.where(alone, 0.0, x[..., 0])
    far_y = (uniform(*n) * 2 - 1) * span_y + torch.where(alone, 0.0, y[..., 0])
    end_x = torch.where(back, x[..., 0], far_x)[..., None]
    end_y = torch.where(back, y[..., 0], far_y)[..., None]
    size = r[..., arrival] * torch.exp(0.4 * (uniform(*n) - 0.5))
    size = torch.where(back, r[..., 0], size)
    x = x + way * (end_x - x[..., arrival : arrival + 1])
    y = y + way * (end_y - y[..., arrival : arrival + 1])
    r = r * (size / r[..., arrival])[..., None] ** way
    turned = torch.where(back, angle[..., 0], angle[..., arrival])[..., None]
    angle = angle + way * (turned - angle[..., arrival : arrival + 1])
    return Path(x, y, r, angle)


def arrive(batch: Scenes, frames: int, aspect: float, tail: int) -> Path:
    """Paths as of `tracks.track`, which pass (x, y) where the given end begins."""
    arrival = (frames - FACTOR * tail) / 16 + batch.phase[:, None, None]
    return track(batch, torch.arange(frames) / 16, 2 * arrival, aspect)


def ending(vae: VAE, frames: Tensor, tail: int) -> Tensor:
    """The last `tail` latent frames as a request gives them, `[b, z, tail, h, w]`, normalised.

    `frames` `[b, 3, f, h, w]` are the whole clip. What a request gives has no past, which is taken
    to have stood still (`model.given.following`); one latent frame is a picture.
    """
    given = frames[:, :, -1:].expand(-1, -1, FACTOR, -1, -1)
    if tail > 1:
        given = frames[:, :, -FACTOR * tail :]
    with torch.no_grad():
        past = given[:, :, :1].expand(-1, -1, 1 + PAST * FACTOR, -1, -1)
        latents = vae.encode(torch.cat([past, given], 2))[:, :, 1 + PAST :]
        return vae.normalize(latents.float())
