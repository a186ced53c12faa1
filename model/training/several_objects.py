"""What is asked of clips of two or three objects: each is what it is to be, where it is to be."""

from dataclasses import replace

import torch
from torch import Tensor

from model.training import captions, scenes
from model.training.cases import CLIP, FPS, WINDOW, Case, coloured
from model.training.judging import Judge, Made, every, frames_of
from model.training.rendering import render
from model.training.scenes import Scenes
from model.training.tracks import track

#: Half the width of what is looked at around an object that stands apart, half heights.
NEAR = 0.6
#: Scenes that are looked at for one that can be judged.
TRIES = 30


def several(
    judge: Judge,
    asked: Case,
    *,
    count: int = 2,
    frames: int = CLIP,
    held_out: bool = False,
    truth: bool = False,
) -> Made:
    """A clip of two or three objects from words alone, or as they are after the autoencoder.

    Each has a colour that training showed its shape in, unless they are `held_out`. In longer clips
    than short ones their motions are not judged, and only such are asked for in which the renderer
    keeps all in their parts of the picture.
    """
    names = ("shape", "colour", "motion")[: 3 if frames == CLIP else 2]
    generator = torch.Generator().manual_seed(asked.seed)
    scene, real = _scene(asked, count, frames, generator, held_out=held_out)
    tries = TRIES if frames > CLIP else 0
    while tries and False in judge.sees_each(real, scene, *names).values():
        scene, real = _scene(asked, count, frames, generator, held_out=held_out)
        tries -= 1
    prompt = captions.describe(scene, generator, complete=True, rarely=0)[0]
    asked = replace(asked, prompt=prompt)
    clip = judge.after(real) if truth else judge.make(asked, frames=frames)
    return clip, judge.sees_each(clip, scene, *names)


def _scene(
    asked: Case, count: int, frames: int, generator: torch.Generator, *, held_out: bool
) -> tuple[Scenes, Tensor]:
    """A scene of so many objects, and its clip."""
    aspect = asked.width / asked.height
    layout = "three"
    if count == 2:
        beside = aspect > 1 or (aspect == 1 and asked.seed % 4 < 2)
        layout = "beside" if beside else "above"
    scene = scenes.sample(
        1, generator, held_out=held_out, aspect=aspect, layout=layout, camera="fixed"
    )
    return scene, render(scene, frames, asked.height, asked.width)[0]


def behind(judge: Judge, asked: Case, *, truth: bool = False) -> Made:
    """More of a clip whose second object passes behind the first, and comes out again.

    Both are looked at in the last quarter of a second, when they are apart.
    """
    asked = replace(asked, height=160, width=256)
    generator = torch.Generator().manual_seed(asked.seed)
    scene = coloured(
        scenes.sample(1, generator, held_out=True, aspect=1.6, layout="crossing", camera="fixed")
    )
    clip, _ = render(scene, WINDOW, asked.height, asked.width)
    if truth:
        clip = judge.after(clip)
    else:
        prompt = captions.describe(scene, generator, complete=True, rarely=0)[0]
        known = clip[:, :, :CLIP]
        more = judge.make(
            replace(asked, prompt=prompt), before=frames_of(known), frames=WINDOW - CLIP
        )
        clip = torch.cat([known, more], 2)
    seconds = torch.tensor([(WINDOW - 2.5) / FPS])
    centres = track(scene, seconds, (WINDOW - 1) / FPS, 1.6).x[0, :, 0].tolist()
    each = []
    for k in range(2):
        middle, half = asked.width / 2 + centres[k] * asked.height / 2, NEAR * asked.height / 2
        left = round(min(max(middle - half, 0), asked.width - 2 * half))
        part = clip[:, :, -4:, :, left : left + round(2 * half)]
        each.append(judge.sees(part, scene, "shape", "colour", k=k))
    return clip, every(each)
