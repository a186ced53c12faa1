"""Every mode of the service, scored on held-out prompts: both ends, extend, loop, edit, a minute.

What is asked of a clip is a named verdict; a mode's row says how often each held.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from model.training.cases import WINDOW, Case, case, cases, recoloured, right, size_of
from model.training.detector import GRAY, Detector
from model.training.judging import Judge, Made
from model.training.minutes import minute
from model.training.one_object import (
    camera,
    decoded,
    edit,
    ends,
    extend,
    four_seconds,
    image,
    loop,
    rare,
    rendered,
    still,
    text,
    unseen,
)
from model.training.scenes import MOTIONS, SHAPES, STYLES
from model.training.several_objects import behind, several

TEXT, CEILING = "text to video", "decoded truth (ceiling)"
MODES: dict[str, tuple[Callable[[Judge, Case], Made], float]] = {
    # what, and its share of the prompts
    "rendered truth": (rendered, 1.0),
    CEILING: (decoded, 1.0),
    TEXT: (text, 1.0),
    "text to video, 4 s": (four_seconds, 0.25),
    "still image": (still, 0.5),
    "camera, decoded truth (ceiling)": (partial(camera, truth=True), 0.25),
    "camera": (camera, 0.25),
    "two objects, decoded truth (ceiling)": (partial(several, truth=True), 0.5),
    "two objects": (several, 0.5),
    "two objects, held out each": (partial(several, held_out=True), 0.25),
    "two objects, 4 s": (partial(several, frames=WINDOW), 0.12),
    "two objects, still image": (partial(several, frames=1), 0.25),
    "three objects, decoded truth (ceiling)": (partial(several, count=3, truth=True), 0.25),
    "three objects": (partial(several, count=3), 0.25),
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
    "unseen word for the shape": (partial(unseen, what="shape"), 0.25),
    "unseen word for the colour": (partial(unseen, what="colour"), 0.25),
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


def asked_for(mode: str, i: int) -> Case:
    """The i-th case of a mode, or of text to video at one of the SIZES."""
    height, width = SIZES[mode][:2] if mode in SIZES else size_of(i)
    return case(i, height, width)


def made(judge: Judge, mode: str, i: int) -> Made:
    """The i-th clip of a mode, or of text to video at one of the SIZES."""
    act = text if mode in SIZES else MODES[mode][0]
    return act(judge, asked_for(mode, i))


def adversaries(detector: Detector, count: int = 40) -> dict[str, float]:
    """Per cent of clips that must not count as what they are not, and do not.

    Noise and an empty background have no object; a clip whose frames are all its first must not
    move; an object of another shape or colour must be told from the one that was asked for.
    """
    verdicts: dict[str, list[bool]] = {}
    for asked in cases(count):
        scene, clip = asked.scene, asked.real()
        generator = torch.Generator().manual_seed(asked.seed)
        noise = torch.randn(clip.shape, generator=generator)
        stopped = clip[:, :, :1].expand_as(clip)
        moving = int(scene.motion[0, 0]) != MOTIONS.index("still")
        found = {
            "noise": int(detector.look(noise.clamp(-1, 1)).shape[0]) == -1,
            "a still clip": not moving
            or int(detector.look(stopped).motion[0]) != int(scene.motion[0, 0]),
        }
        others = {"shape": replace(scene, shape=(scene.shape + 1) % len(SHAPES))}
        if STYLES[int(scene.style[0])] not in GRAY:
            others["colour"] = recoloured(scene, generator)
        for name, other in others.items():
            seen = right(detector.look(replace(asked, scene=other).real()), scene)
            found[f"another {name}"] = seen[name] is False
        for name, verdict in found.items():
            verdicts.setdefault(name, []).append(verdict)
    return {name: 100 * sum(held) / len(held) for name, held in verdicts.items()}
