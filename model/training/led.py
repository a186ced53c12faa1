"""Clips whose end is given: an object that is led there, and the end as a request gives it.

A loop, a last picture and a clip that leads to another one ask for an end that the motion in the
prompt would not reach. Such a clip moves as its prompt says where it is given, and is led between.
What is made before a given clip, with nothing before it, moves as that does.
"""

import torch
from torch import Tensor

from model.given import PAST
from model.training import trajectories
from model.training.scenes import Scenes
from model.vae import VAE

#: Frames of a latent frame.
FACTOR = 4


def moments(frames: int, tail: int) -> Tensor:
    """The seconds `[f]` of a clip's own time at which its frames are, if it is led.

    With one latent frame given at the end, time slows down over the last half before, and stands
    from the arrival on.
    """
    number = torch.arange(frames).float()
    if tail == 1:
        arrival = frames - FACTOR * tail
        late = ((number - arrival / 2) / (arrival / 2)).clamp(0, 1)
        number = number.clamp(max=arrival) - late**2 * arrival / 4
    return number / 16


def lead(
    batch: Scenes, frames: int, aspect: float, tail: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Paths as of `trajectories.track`, led to some end, half of them to where they began.

    With two latent frames at the end given, the object moves on in them. With one it has arrived
    and rests, as one picture says nothing of motion.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    n, arrival = len(batch), frames - FACTOR * tail
    seconds = moments(frames, tail)
    x, y, r = trajectories.track(batch, seconds, trajectories.OPENING_S, aspect, wraps=False)
    inside = trajectories.track(batch, seconds[:1], trajectories.OPENING_S, aspect)
    x, y = x - x[:, :1] + inside[0], y - y[:, :1] + inside[1]
    departure = (FACTOR * torch.randint(frames // 8, (n, 1), generator=generator) + 1).float()
    way = ((torch.arange(frames)[None] - departure) / (arrival - departure)).clamp(0, 1)
    way = way * way * (3 - 2 * way)
    back = uniform(n) < 0.5
    span = torch.tensor([0.8 * aspect, 0.7])
    end = torch.where(
        back[:, None], torch.stack([x[:, 0], y[:, 0]], 1), (uniform(n, 2) * 2 - 1) * span
    )
    size = torch.where(back, r[:, 0], r[:, arrival] * torch.exp(0.4 * (uniform(n) - 0.5)))
    x = x + way * (end[:, :1] - x[:, arrival : arrival + 1])
    y = y + way * (end[:, 1:] - y[:, arrival : arrival + 1])
    return x, y, r * (size / r[:, arrival])[:, None] ** way


def arrive(batch: Scenes, frames: int, aspect: float, tail: int) -> tuple[Tensor, Tensor, Tensor]:
    """Paths as of `trajectories.track`, which pass (x, y) where the given end begins."""
    arrival = (frames - FACTOR * tail) / 16 + batch.phase[:, None]
    return trajectories.track(batch, torch.arange(frames) / 16, 2 * arrival, aspect)


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
