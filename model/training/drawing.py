"""The pixels of scenes: backgrounds, and objects put on them."""

import torch
from torch import Tensor

from model.training.grounds import ANIMATED, GROUNDS, Ground
from model.training.objects import Drawn, draw
from model.training.styles import REACH, composite, dark, dim_ones, treat
from model.training.view import Placed, View, members

#: Frames that a CPU draws at once: so few that temporaries stay in its cache.
CHUNK = 5


def backdrop(
    names: list[str], styles: list[str], seed: Tensor, moving: list[bool], view: View
) -> Tensor:
    """Backgrounds in their styles, `[b, 3, f, h, w]` in 0..1; where neither the camera is `moving`
    nor the background, one frame is drawn and repeated.
    """
    b, f, h, w = len(names), view.now.shape[1], view.y.shape[2], view.x.shape[3]
    pictures = torch.empty(b, 3, f, h, w, device=view.x.device)
    lively = [m or n in ANIMATED for m, n in zip(moving, names, strict=True)]
    if view.x.device.type == "cpu":
        for i in range(b):
            here = slice(i, i + 1)
            steps = CHUNK if lively[i] else f
            for start in range(0, f, steps):
                frames = slice(start, start + steps if lively[i] else start + 1)
                pictures[here, :, start : start + steps] = grounds(
                    names[here],
                    styles[here],
                    seed[here],
                    view.take(here).part(frames, slice(None), slice(None)),
                )
        return pictures
    for alive, frames in ((False, slice(0, 1)), (True, slice(None))):
        some = [i for i in range(b) if lively[i] == alive]
        if some:
            index = torch.tensor(some).to(seed.device, non_blocking=True)
            drawn = grounds(
                [names[i] for i in some],
                [styles[i] for i in some],
                seed[index],
                view.take(index).part(frames, slice(None), slice(None)),
            )
            pictures[index] = drawn.expand(-1, -1, f, -1, -1)
    return pictures


def grounds(names: list[str], styles: list[str], seed: Tensor, view: View) -> Tensor:
    """Backgrounds in their styles, all frames drawn."""
    ground = Ground(
        (view.x / view.zoom + view.pan)[:, None],
        (view.y / view.zoom)[:, None],
        seed.view(-1, 1, 1, 1, 1),
        view.now[:, None],
        view.pixel,
    )
    shape = (len(names), 3, view.now.shape[1], view.y.shape[2], view.x.shape[3])
    if len(names) == 1:
        picture = GROUNDS[names[0]](ground).expand(shape)
        return treat(styles[0], picture, ground, dim_ones(names, seed))
    pictures = torch.empty(shape, device=seed.device)
    for name, index in members(names, seed.device).items():
        drawn = GROUNDS[name](ground.take(index))
        pictures[index] = drawn.expand(len(index), *shape[1:])
    dims = dim_ones(names, seed)
    for style, index in members(styles, seed.device).items():
        if style not in ("flat", "shaded"):
            pictures[index] = treat(style, pictures[index], ground.take(index), dims[index])
    return pictures


def put(
    pictures: Tensor,
    shapes: list[str],
    styles: list[str],
    fill: Tensor,
    placed: Placed,
    view: View,
) -> tuple[Tensor, Tensor]:
    """Draw an object of colour `fill` `[n, 3]` on each of the pictures, and return them with the
    objects' coverage `[n, f, h, w]`.

    On a CPU clips are drawn one by one, a few frames at a time and only about the object: that is
    ten times faster than all at once, because temporaries stay in cache.
    """
    if pictures.device.type == "cpu":
        return put_boxes(pictures, shapes, styles, fill, placed, view)
    return put_whole(pictures, shapes, styles, fill, placed, view)


def put_whole(
    pictures: Tensor,
    shapes: list[str],
    styles: list[str],
    fill: Tensor,
    placed: Placed,
    view: View,
) -> tuple[Tensor, Tensor]:
    """`put`, drawn everywhere: first the objects of each shape, then the clips in each style."""
    n, _, *rest = pictures.shape
    coverage = pictures.new_empty(n, *rest)
    drawn = Drawn(
        torch.empty_like(coverage), torch.empty_like(coverage), torch.empty_like(pictures)
    )
    for shape, index in members(shapes, fill.device).items():
        of = [s for name, s in zip(shapes, styles, strict=True) if name == shape]
        some = draw(shape, of, fill[index], placed.take(index), view.take(index))
        for whole, part in zip(drawn, some, strict=True):
            whole[index] = part
    dim = dark(pictures)
    for style, index in members(styles, fill.device).items():
        pictures[index], coverage[index] = composite(
            style,
            pictures[index],
            dim[index],
            Drawn(*(v[index] for v in drawn)),
            fill[index],
            placed.take(index),
            view.take(index),
        )
    return pictures, coverage


def put_boxes(
    pictures: Tensor,
    shapes: list[str],
    styles: list[str],
    fill: Tensor,
    placed: Placed,
    view: View,
) -> tuple[Tensor, Tensor]:
    """`put`, drawn only in boxes about the objects."""
    n, _, f, h, w = pictures.shape
    dim = dark(pictures)
    coverage = pictures.new_zeros(n, f, h, w)
    for i, (shape, style) in enumerate(zip(shapes, styles, strict=True)):
        one = slice(i, i + 1)
        for start in range(0, f, CHUNK):
            frames = slice(start, start + CHUNK)
            where = placed.take(one).part(frames)
            reach = REACH[style] * where.radius + 2 * view.pixel
            rows, columns = (
                slice(
                    *torch.searchsorted(
                        line, torch.stack([(at - reach).min(), (at + reach).max()])
                    ).tolist()
                )
                for line, at in ((view.y[i, 0, :, 0], where.y), (view.x[i, 0, 0], where.x))
            )
            if rows.start == rows.stop or columns.start == columns.stop:
                continue
            seen = view.take(one).part(frames, rows, columns)
            box = (one, slice(None), frames, rows, columns)
            drawn = draw(shape, styles[one], fill[one], where, seen)
            pictures[box], coverage[one, frames, rows, columns] = composite(
                style, pictures[box], dim[one], drawn, fill[one], where, seen
            )
    return pictures, coverage
