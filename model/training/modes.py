"""Every mode of the service, scored on held-out prompts: both ends, extend, loop, edit, a minute.

Where a mode goes on from frames or changes them, these are rendered, so that the truth beyond them
is known. What is asked of a clip is a named verdict; a mode's row says how often each held.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from model.training import captions, pairs
from model.training.cases import FPS, Case, case, cases, psnr, to_image
from model.training.detector import ATTRIBUTES
from model.training.judge import SPAN, Judge, Verdict, correlation
from model.training.scenes import BACKGROUNDS, CLASHES, COLOURS, MOTIONS, SHAPES, Scenes

CLIP = 25  # frames of a short clip, and of one that is gone on from
WINDOW = 65
MINUTE = 60 * FPS + 1
#: Frames at both ends of a minute that are compared.
SPANNED = 5 * FPS
#: A mean step between frames, in half the range of grey levels, that nobody sees.
INVISIBLE = 0.02
#: Words that no caption of the training has.
UNSEEN = {
    "ball": "orb", "square": "hexahedron", "triangle": "delta", "star": "asterisk",
    "heart": "valentine", "ring": "hula", "red": "crimson", "orange": "apricot",
    "yellow": "lemon", "green": "jade", "blue": "azure", "purple": "mauve",
    "pink": "magenta", "white": "ivory", "cross": "crucifix", "diamond": "lozenge",
    "moon": "lune", "car": "sedan", "house": "cottage", "tree": "oak", "boat": "vessel",
    "fish": "mackerel", "bird": "sparrow", "rocket": "missile", "person": "pedestrian",
    "turquoise": "aquamarine", "brown": "chestnut", "gray": "slate", "black": "ebony",
}  # fmt: skip

Made = tuple[Tensor, Verdict]  # a clip `[1, 3, f, h, w]` in [-1, 1], and what is to be said of it


def steps(clip: Tensor) -> Tensor:
    """Mean absolute difference between neighbouring frames."""
    return (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean((0, 1, 3, 4))


def frames_of(clip: Tensor) -> Tensor:
    """A clip as the frames `[f, h, w, 3]` of a request, uint8."""
    return ((clip[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0)


def rendered(judge: Judge, asked: Case) -> Made:
    """What the renderer draws: what the detector can get right at all."""
    clip = asked.real(CLIP)
    return clip, judge.sees(clip, asked.scene, *ATTRIBUTES)


def decoded(judge: Judge, asked: Case) -> Made:
    """The same after the autoencoder: the most that a transformer can reach."""
    clip = judge.after(asked.real(CLIP))
    return clip, judge.sees(clip, asked.scene, *ATTRIBUTES)


def text(judge: Judge, asked: Case) -> Made:
    """A clip from words alone."""
    clip = judge.make(asked)
    return clip, judge.sees(clip, asked.scene, *ATTRIBUTES)


def four_seconds(judge: Judge, asked: Case) -> Made:
    """A clip as long as a window, from words alone."""
    clip = judge.make(asked, frames=WINDOW)
    return clip, judge.sees(clip, asked.scene, "shape", "colour", "background", "style")


def rare(judge: Judge, asked: Case) -> Made:
    """A clip from words that training seldom said."""
    return text(judge, replace(asked, prompt=_said(asked.scene, asked.seed, rarely=1)))


def still(judge: Judge, asked: Case) -> Made:
    """A picture from words alone."""
    clip = judge.make(asked, frames=1)
    return clip, judge.sees(clip, asked.scene, "shape", "colour", "background", "style")


def image(judge: Judge, asked: Case) -> Made:
    """A clip that begins with a rendered picture."""
    start = asked.real(CLIP)[0, :, 0]
    clip = judge.make(asked, image=to_image(start))
    seen = judge.sees(clip, asked.scene, *ATTRIBUTES)
    return clip, seen | {"first frame, dB": psnr(clip[0, :, 0], start)}


def two(
    judge: Judge, asked: Case, *, frames: int = CLIP, held_out: bool = False, truth: bool = False
) -> Made:
    """A clip of two objects from words alone, or as they are after the autoencoder.

    Each has a colour that training showed its shape in, unless they are `held_out`. Over four
    seconds motions are not judged, and only pairs are asked for that can be told after them: what
    the renderer draws passes, too.
    """
    aspect = asked.width / asked.height
    names = ("shape", "colour", "motion")[: 3 if frames == CLIP else 2]
    generator = torch.Generator().manual_seed(asked.seed)
    pair = pairs.sample(1, generator, held_out=held_out, aspect=aspect)
    if frames == WINDOW:
        while not _told(
            judge, asked, pair := pairs.last_long(pair, WINDOW / FPS, generator, aspect)
        ):
            pair = pairs.sample(1, generator, held_out=held_out, aspect=aspect)
    prompt = captions.describe_two(*pair, generator, complete=True, rarely=0)[0]
    if truth:
        clip = judge.after(pairs.render(pair, frames, asked.height, asked.width)[0])
    else:
        clip = judge.make(replace(asked, prompt=prompt), frames=frames)
    return clip, judge.sees_two(clip, pair, *names)


def _told(judge: Judge, asked: Case, pair: tuple[Scenes, Scenes]) -> bool:
    clip, _ = pairs.render(pair, WINDOW, asked.height, asked.width)
    return False not in judge.sees_two(clip, pair, "shape", "colour").values()


def behind(judge: Judge, asked: Case, *, truth: bool = False) -> Made:
    """More of a clip whose right object moves left: it passes behind the other and comes out again.

    Both are looked at in the last quarter of a second, when they are apart.
    """
    asked = replace(asked, height=160, width=256)
    generator = torch.Generator().manual_seed(asked.seed)
    front, other = pairs.sample(1, generator, held_out=True, aspect=1.6)
    common = {"style": front.style % 2, "size": torch.tensor([1]), "speed": torch.tensor([1])}
    still, left = (torch.tensor([MOTIONS.index(name)]) for name in ("still", "left"))
    pair = (
        replace(front, motion=still, x=torch.zeros(1), y=torch.zeros(1), **common),
        replace(other, motion=left, x=torch.tensor([0.92]), y=torch.zeros(1), **common),
    )
    clip, _ = pairs.render(pair, WINDOW, asked.height, asked.width)
    if truth:
        clip = judge.after(clip)
    else:
        prompt = captions.describe_two(*pair, generator, complete=True, rarely=0)[0]
        known = frames_of(clip[:, :, :CLIP])
        made = judge.make(replace(asked, prompt=prompt), before=known, frames=WINDOW - CLIP)
        clip = torch.cat([clip[:, :, :CLIP], made], 2)
    parts = (clip[:, :, -4:, :, 88:168], clip[:, :, -4:, :, 8:88])
    each = [judge.sees(p, s, "shape", "colour") for p, s in zip(parts, pair, strict=True)]
    return clip, {name: all(verdict[name] for verdict in each) for name in each[0]}


def ends(judge: Judge, asked: Case) -> Made:
    """A clip between two rendered pictures."""
    truth = asked.real(CLIP)[0]
    first, last = truth[:, 0], truth[:, -1]
    clip = judge.make(asked, image=to_image(first), last_image=to_image(last))
    moved = steps(clip)
    return clip, judge.sees(clip, asked.scene, "shape", "colour", "background", "style") | {
        "first frame, dB": psnr(clip[0, :, 0], first),
        "last frame, dB": psnr(clip[0, :, -1], last),
        "smooth": bool(moved.max() <= max(3 * float(moved.median()), INVISIBLE)),
    }


def extend(judge: Judge, asked: Case, *, backward: bool = False) -> Made:
    """More of a rendered clip, after it or before it."""
    halves = asked.real(2 * CLIP).split(CLIP, dim=2)
    if backward:
        unknown, known = halves
        clip = judge.make(asked, after=frames_of(known), frames=CLIP)
        ours, true = clip[:, :, -SPAN:], unknown[:, :, -SPAN:]
        joint = torch.cat([clip[:, :, -1:], known[:, :, :1]], 2)
    else:
        known, unknown = halves
        clip = judge.make(asked, before=frames_of(known), frames=CLIP - 1)
        ours, true = clip[:, :, :SPAN], unknown[:, :, :SPAN]
        joint = torch.cat([known[:, :, -1:], clip[:, :, :1]], 2)
    usual = float(steps(known).median())
    return clip, judge.sees(clip, asked.scene, "shape", "colour", "background", "style") | {
        "velocity": judge.goes_on(ours, true),
        "seam": float(steps(joint)) <= max(2 * usual, INVISIBLE),
    }


def loop(judge: Judge, asked: Case) -> Made:
    """A clip whose end leads back to its beginning."""
    clip = judge.make(asked, loop=True)
    joint = torch.cat([clip[:, :, -1:], clip[:, :, :1]], 2)
    closed = float(steps(joint)) <= max(1.5 * float(steps(clip).median()), INVISIBLE)
    seen = judge.sees(clip, asked.scene, "shape", "colour", "background", "style")
    return clip, seen | {"closed": closed}


def edit(judge: Judge, asked: Case, *, what: str) -> Made:
    """Another colour, or the other style with colours, is asked for; the rest is to stay."""
    source = replace(asked.scene, style=asked.scene.style % 2)
    change = (source.style + 1) % 2 if what == "style" else other_colour(source)
    target = replace(source, **{what: change})
    prompt = _said(target, asked.seed)
    before = replace(asked, scene=source).real(CLIP)
    clip = judge.make(replace(asked, prompt=prompt), video=frames_of(before))
    tracks = [judge.detector.look(c).track[0, :, :2] for c in (before, clip)]
    kept = correlation(*tracks) >= 0.9
    return clip, judge.sees(clip, target, *ATTRIBUTES) | {"track kept": kept}


def other_colour(scene: Scenes) -> Tensor:
    """Another colour for the object, which can be seen on its background."""
    clashes = CLASHES[BACKGROUNDS[int(scene.background)]]
    number = (int(scene.colour) + 3) % len(COLOURS)
    while COLOURS[number] in clashes:
        number = (number + 1) % len(COLOURS)
    return torch.tensor([number])


def minute(judge: Judge, asked: Case) -> Made:
    """Sixty seconds from words alone, of a scene that can be told after a minute."""
    while not lasts(judge, asked):
        asked = case(asked.seed + 1000, asked.height, asked.width)
    clip = judge.make(asked, frames=MINUTE)
    return clip, _drift(judge, asked, clip[:, :, :SPANNED], clip[:, :, -SPANNED:])


def lasts(judge: Judge, asked: Case) -> bool:
    """Whether a scene, as the renderer draws it, has after a minute what is asked of one.

    One in three has not: its object has left the picture, or covers more of it than at first.
    """
    first, last = (asked.later(SPANNED, second) for second in (0, (MINUTE - SPANNED) / FPS))
    return all(held is not False for held in _drift(judge, asked, first, last).values())


def _drift(judge: Judge, asked: Case, first: Tensor, last: Tensor) -> Verdict:
    bright = [float(part.mean() + 1) for part in (first, last)]
    contrast = [float(part.std(dim=(1, 3, 4)).mean()) for part in (first, last)]
    return judge.sees(last, asked.scene, "shape", "colour", "background", "style") | {
        "brightness within 5 %": abs(bright[1] / bright[0] - 1) <= 0.05,
        "contrast within 5 %": abs(contrast[1] / contrast[0] - 1) <= 0.05,
    }


def unseen(judge: Judge, asked: Case, *, what: str) -> Made:
    """One word of the prompt is none that training had."""
    names = {"shape": SHAPES, "colour": COLOURS}[what]
    name = names[int(getattr(asked.scene, what)[0])]
    scene = replace(asked.scene, style=asked.scene.style % 2)
    prompt = _said(scene, asked.seed, instead={name: UNSEEN[name]})
    clip = judge.make(replace(asked, prompt=prompt))
    return clip, judge.sees(clip, scene, what)


def _said(
    scene: Scenes, seed: int, *, rarely: float = 0, instead: dict[str, str] | None = None
) -> str:
    generator = torch.Generator().manual_seed(seed)
    return captions.describe(scene, generator, complete=True, rarely=rarely, instead=instead)[0]


MODES: dict[str, tuple[Callable[[Judge, Case], Made], float]] = {
    # what, and its share of the prompts
    "rendered truth": (rendered, 1.0),
    "decoded truth (ceiling)": (decoded, 1.0),
    "text to video": (text, 1.0),
    "text to video, 4 s": (four_seconds, 0.25),
    "still image": (still, 0.5),
    "two objects, decoded truth (ceiling)": (partial(two, truth=True), 0.5),
    "two objects": (two, 0.5),
    "two objects, held out each": (partial(two, held_out=True), 0.25),
    "two objects, 4 s": (partial(two, frames=WINDOW), 0.12),
    "two objects, still image": (partial(two, frames=1), 0.25),
    "behind another and out again, decoded truth": (partial(behind, truth=True), 0.12),
    "behind another and out again": (behind, 0.12),
    "image to video": (image, 0.25),
    "first and last frame": (ends, 0.25),
    "extend forward": (extend, 0.25),
    "extend backward": (partial(extend, backward=True), 0.25),
    "loop": (loop, 0.25),
    "edit, another colour": (partial(edit, what="colour"), 0.25),
    "edit, another style": (partial(edit, what="style"), 0.25),
    "rarer words throughout": (rare, 0.25),
    "unseen word for the shape": (partial(unseen, what="shape"), 0.12),
    "unseen word for the colour": (partial(unseen, what="colour"), 0.12),
    "60 s, its last 5 s": (minute, 0.06),
}
#: Sizes of text to video, with their share of the prompts: height, width.
SIZES = {
    "256x256": (256, 256, 0.12),
    "848x480 (16:9)": (480, 848, 0.12),
    "480x848 (9:16)": (848, 480, 0.12),
    "1120x480 (21:9)": (480, 1120, 0.12),
    "1920x1080": (1080, 1920, 0.06),
}


def made(judge: Judge, mode: str, i: int) -> Made:
    """The i-th clip of a mode, or of text to video at one of the SIZES."""
    if mode in SIZES:
        height, width, _ = SIZES[mode]
        return text(judge, case(i, height, width))
    return MODES[mode][0](judge, cases(i + 1)[i])
