"""Scenes as clips: frames, and what is seen of each object."""

import torch
from torch import Tensor

from model.training import drawing
from model.training.scenes import (
    BACKGROUNDS,
    CAMERAS,
    MOTIONS,
    OBJECTS,
    RGB,
    SHAPES,
    STYLES,
    Scenes,
)
from model.training.tracks import Path, pan_of, track, zoom_of
from model.training.view import Placed, View


def render(
    scenes: Scenes,
    frames: int,
    height: int,
    width: int,
    *,
    fps: float = 16.0,
    length: float | None = None,
    window: tuple[Tensor, Tensor, int, int] | None = None,
    path: Path | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Draw the clips: frames `[b, 3, f, h, w]` in [-1, 1], and what is seen of each object, its
    coverage `[b, OBJECTS, f, h, w]`, on a device; the scenes (and `path`) are in host memory.

    `length` are the seconds of the clip that is drawn, or of which a part is (`track`); of the
    frames themselves, unless given. `window` = (top `[b]`, left `[b]`, h, w) draws only that part
    of the `height` x `width` picture. `path` stands in for the scenes' own `track`.
    """
    seconds = torch.arange(frames) / fps
    length = (frames - 1) / fps if length is None else length
    path = track(scenes, seconds, length, width / height) if path is None else path
    h, w = (height, width) if window is None else window[2:]
    pixel = 2 / height
    top, left = (0, 0) if window is None else (t[:, None] for t in window[:2])
    rows = ((torch.arange(h) + top + 0.5) * pixel - 1).expand(len(scenes), h)
    columns = ((torch.arange(w) + left + 0.5) * pixel - width / height).expand(len(scenes), w)

    def moved(x: Tensor) -> Tensor:
        return x.to(device, non_blocking=True)

    view = View(
        x=moved(columns[:, None, None, :]),
        y=moved(rows[:, None, :, None]),
        pan=moved(pan_of(scenes, seconds)[:, :, None, None]),
        zoom=moved(zoom_of(scenes, seconds, length)[:, :, None, None]),
        now=moved((seconds + scenes.phase[:, None])[:, :, None, None]),
        pixel=pixel,
    )
    styles = [STYLES[i] for i in scenes.style.tolist()]
    pictures = drawing.backdrop(
        [BACKGROUNDS[i] for i in scenes.background.tolist()],
        styles,
        moved(scenes.seed),
        (scenes.camera != CAMERAS.index("fixed")).tolist(),
        view,
    )
    coverages = torch.zeros(len(scenes), OBJECTS, frames, h, w, device=device)
    for k in reversed(range(OBJECTS)):
        index = scenes.present()[:, k].nonzero()[:, 0]
        if not len(index):
            continue
        motion = scenes.motion[index, k]
        # To the left things look to the left.
        flip = torch.where(motion == MOTIONS.index("left"), -1.0, 1.0)
        walks = (motion != MOTIONS.index("still")).float()
        fill = (RGB[scenes.colour[index, k]] + scenes.tint[index, k]).clamp(0, 1)
        x, y, r, angle = (moved(v[index, k]) for v in path)
        placed = Placed(x, y, r, angle, moved(flip), moved(walks))
        shapes = [SHAPES[i] for i in scenes.shape[index, k].tolist()]
        all_of_them = len(index) == len(scenes)
        here = slice(None) if all_of_them else moved(index)
        drawn, coverage = drawing.put(
            pictures[here],
            shapes,
            [styles[i] for i in index.tolist()],
            moved(fill),
            placed,
            view.take(here),
        )
        if not all_of_them:
            pictures[here] = drawn
        for behind in range(k + 1, int(scenes.count.max())):
            coverages[here, behind] *= 1 - coverage
        coverages[here, k] = coverage
    return pictures.mul_(2).sub_(1), coverages
