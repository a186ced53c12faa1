"""Scenes drawn: frames, and what share of each pixel the object covers.

Everything is a batched torch computation from attributes to pixels, so the same code runs on a CPU
or a GPU, at any size, and can draw any window of a larger virtual picture (the VAE learns 1080p
detail from such crops).
"""

import torch
from torch import Tensor

from model.training.bending import Bend
from model.training.grounds import FALLING, background, falling
from model.training.objects import Look, Pose, put
from model.training.scenes import BACKGROUNDS, SHAPES, STYLES, Scenes
from model.training.styles import treat
from model.training.trajectories import facing, goes, track, turning

RGB = torch.tensor(
    [
        [0.88, 0.10, 0.10],
        [0.98, 0.52, 0.05],
        [0.97, 0.87, 0.10],
        [0.12, 0.68, 0.20],
        [0.12, 0.28, 0.92],
        [0.50, 0.14, 0.72],
        [0.98, 0.50, 0.74],
        [0.97, 0.97, 0.97],
        [0.10, 0.80, 0.78],
        [0.48, 0.28, 0.12],
        [0.52, 0.53, 0.55],
        [0.06, 0.06, 0.07],
    ]
)

#: A part of a picture: its top `[b]` and left `[b]`, and its height and width.
Window = tuple[Tensor, Tensor, int, int]


def render(
    scenes: Scenes,
    frames: int,
    height: int,
    width: int,
    *,
    fps: float = 16.0,
    seconds: Tensor | None = None,
    window: Window | None = None,
    path: tuple[Tensor, Tensor, Tensor] | None = None,
    bends: list[Bend] | None = None,
    on: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw the clips: frames `[b, 3, f, h, w]` in [-1, 1] and object coverage `[b, f, h, w]`.

    `seconds` `[f]` are the moments of the frames, if they are not `fps` a second from 0.
    `window` draws only that part of the `height` x `width` picture.
    `path` stands in for the scenes' own `track`. With `bends`, one a scene, they are drawn wrong.
    `on` are clips to draw the objects on, instead of their backgrounds.
    """
    device = scenes.x.device
    h, w = (height, width) if window is None else window[2:]
    pictures = torch.empty(len(scenes), 3, frames, h, w, device=device)
    coverages = torch.zeros(len(scenes), frames, h, w, device=device)
    seconds = torch.arange(frames, device=device) / fps if seconds is None else seconds.to(device)
    if path is None:
        path = track(scenes, seconds, (frames - 1) / fps, width / height)
    now = seconds[None] + scenes.phase[:, None]
    held = (turning(scenes, seconds), facing(scenes, seconds), now)
    moving = goes(scenes).tolist()
    colours = (RGB.to(device)[scenes.colour] + scenes.tint).clamp(0, 1)
    columns, rows = torch.arange(w, device=device), torch.arange(h, device=device)
    pixel = 2 / height
    for i in range(len(scenes)):
        top, left = (0, 0) if window is None else (int(window[0][i]), int(window[1][i]))
        y = (rows + top + 0.5) * pixel - 1
        x = (columns + left + 0.5) * pixel - width / height
        name, style = BACKGROUNDS[int(scenes.background[i])], STYLES[int(scenes.style[i])]
        if on is None:
            back = _lay(
                pictures[i], name, style, (x[None], y[:, None]), scenes.seed[i], now[i], pixel
            )
        else:
            back = pictures[i] = (on[i] + 1) / 2
        bend = None if bends is None else bends[i]
        look = Look(SHAPES[int(scenes.shape[i])], colours[i], style, name, bend)
        pose = Pose(*(v[i] for v in (*path, *held)), goes=moving[i])
        put(pictures[i], coverages[i], back, look, pose, x, y, pixel)
    return pictures.mul_(2).sub_(1), coverages


def _lay(
    picture: Tensor,
    name: str,
    style: str,
    place: tuple[Tensor, Tensor],
    seed: Tensor,
    now: Tensor,
    pixel: float,
) -> Tensor:
    """Paint a background all over a picture `[3, f, h, w]`, and give it, of one frame if it stands
    still.
    """
    back = treat(style, name, background(name, *place, float(seed)), *place)[:, None]
    if name not in FALLING:
        picture.copy_(back)
        return back
    share = falling(name, *place, float(seed), now, pixel)
    colour = back.new_tensor(FALLING[name])[:, None, None]
    torch.lerp(back, treat(style, name, colour, *place)[:, None], share, out=picture)
    return picture
