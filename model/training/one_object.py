"""What is asked of clips of one object: words, pictures, other clips in; each makes one clip.

Where a mode goes on from frames or changes them, these are rendered, so that the truth beyond them
is known.
"""

from dataclasses import replace

import torch

from model.training import captions, scenes
from model.training.cases import CLIP, WINDOW, Case, coloured, psnr, recoloured, to_image
from model.training.detector import ATTRIBUTES, PLAIN
from model.training.judging import (
    INVISIBLE,
    SPAN,
    Judge,
    Made,
    correlation,
    frames_of,
    steps,
)
from model.training.scenes import BACKGROUNDS, CAMERAS, COLOURS, SHAPES, Scenes

#: What a clip shows at any moment.
LASTING = ("shape", "colour", "background", "style")
#: Words that no caption of the training has.
UNSEEN = {
    "ball": "orb", "square": "hexahedron", "triangle": "delta", "star": "asterisk",
    "heart": "valentine", "ring": "hula", "cross": "crucifix", "diamond": "lozenge",
    "moon": "lune", "car": "sedan", "house": "cottage", "tree": "oak", "boat": "yacht",
    "fish": "trout", "bird": "sparrow", "rocket": "missile", "person": "pedestrian",
    "red": "crimson", "orange": "apricot", "yellow": "lemon", "green": "jade",
    "turquoise": "aquamarine", "blue": "azure", "purple": "mauve", "pink": "magenta",
    "brown": "chestnut", "white": "ivory", "gray": "slate", "black": "ebony",
}  # fmt: skip


def rendered(judge: Judge, asked: Case) -> Made:
    """What the renderer draws: what the detector can get right at all."""
    clip = asked.real()
    return clip, judge.sees(clip, asked.scene, *ATTRIBUTES)


def decoded(judge: Judge, asked: Case) -> Made:
    """The same after the autoencoder: the most that a transformer can reach."""
    clip = judge.after(asked.real())
    return clip, judge.sees(clip, asked.scene, *ATTRIBUTES)


def text(judge: Judge, asked: Case) -> Made:
    """A clip from words alone."""
    clip = judge.make(asked)
    return clip, judge.sees(clip, asked.scene, *ATTRIBUTES)


def four_seconds(judge: Judge, asked: Case) -> Made:
    """A clip as long as a window, from words alone."""
    clip = judge.make(asked, frames=WINDOW)
    return clip, judge.sees(clip, asked.scene, *LASTING)


def rare(judge: Judge, asked: Case) -> Made:
    """A clip from words that training seldom said."""
    return text(judge, replace(asked, prompt=said(asked.scene, asked.seed, rarely=1)))


def still(judge: Judge, asked: Case) -> Made:
    """A picture from words alone."""
    clip = judge.make(asked, frames=1)
    return clip, judge.sees(clip, asked.scene, *LASTING)


def camera(judge: Judge, asked: Case, *, truth: bool = False) -> Made:
    """A clip seen by a camera that pans or zooms, before what shows that, from words alone or as
    it is after the autoencoder.
    """
    generator = torch.Generator().manual_seed(asked.seed)
    name = CAMERAS[1 + asked.seed % (len(CAMERAS) - 1)]
    aspect = asked.width / asked.height
    scene, found = asked.scene, False
    while not found:
        scene = scenes.sample(
            1, generator, held_out=True, aspect=aspect, layout="alone", camera=name
        )
        found = BACKGROUNDS[int(scene.background[0])] not in PLAIN
    prompt = captions.describe(scene, generator, complete=True, rarely=0)[0]
    asked = replace(asked, scene=scene, prompt=prompt)
    clip = judge.after(asked.real()) if truth else judge.make(asked)
    return clip, judge.sees(clip, scene, *LASTING, "camera")


def image(judge: Judge, asked: Case) -> Made:
    """A clip that begins with a rendered picture."""
    start = asked.real()[0, :, 0]
    clip = judge.make(asked, image=to_image(start))
    seen = judge.sees(clip, asked.scene, *ATTRIBUTES)
    return clip, seen | {"first frame, dB": psnr(clip[0, :, 0], start)}


def ends(judge: Judge, asked: Case) -> Made:
    """A clip between two rendered pictures."""
    truth = asked.real()[0]
    first, last = truth[:, 0], truth[:, -1]
    clip = judge.make(asked, image=to_image(first), last_image=to_image(last))
    moved = steps(clip)
    return clip, judge.sees(clip, asked.scene, *LASTING) | {
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
    return clip, judge.sees(clip, asked.scene, *LASTING) | {
        "velocity": judge.goes_on(ours, true),
        "seam": float(steps(joint)) <= max(2 * usual, INVISIBLE),
    }


def loop(judge: Judge, asked: Case) -> Made:
    """A clip whose end leads back to its beginning."""
    clip = judge.make(asked, loop=True)
    joint = torch.cat([clip[:, :, -1:], clip[:, :, :1]], 2)
    closed = float(steps(joint)) <= max(1.5 * float(steps(clip).median()), INVISIBLE)
    return clip, judge.sees(clip, asked.scene, *LASTING) | {"closed": closed}


def edit(judge: Judge, asked: Case, *, what: str) -> Made:
    """Another colour, or the other of two styles, is asked for; the rest is to stay."""
    generator = torch.Generator().manual_seed(asked.seed)
    source = coloured(asked.scene)
    if what == "style":  # flat and shaded, which go with any colour
        source = replace(source, style=source.style % 2)
        target = replace(source, style=1 - source.style)
    else:
        target = recoloured(source, generator)
    before = replace(asked, scene=source).real()
    prompt = said(target, asked.seed)
    clip = judge.make(replace(asked, prompt=prompt), video=frames_of(before))
    tracks = [judge.detector.look(c).track[0, :, :2] for c in (before, clip)]
    kept = correlation(*tracks) >= 0.9
    return clip, judge.sees(clip, target, *ATTRIBUTES) | {"track kept": kept}


def unseen(judge: Judge, asked: Case, *, what: str) -> Made:
    """One word of the prompt is none that training had."""
    names = {"shape": SHAPES, "colour": COLOURS}[what]
    name = names[int(getattr(asked.scene, what)[0, 0])]
    scene = coloured(asked.scene)
    prompt = said(scene, asked.seed, instead={name: UNSEEN[name]})
    clip = judge.make(replace(asked, prompt=prompt))
    return clip, judge.sees(clip, scene, what)


def said(
    scene: Scenes, seed: int, *, rarely: float = 0, instead: dict[str, str] | None = None
) -> str:
    """A prompt of all that a scene shows."""
    generator = torch.Generator().manual_seed(seed)
    return captions.describe(scene, generator, complete=True, rarely=rarely, instead=instead)[0]
