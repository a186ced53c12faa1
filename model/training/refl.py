"""Learning from a reward: what the sampler makes is shown to a reward model on its way.

Reward feedback learning (Xu et al. 2023, ImageReward, arXiv:2304.05977): from noise the learner
takes the sampler's steps as it will when it is used, guidance and all, and at some of them the
reward model says of the clean clip that the step expects whether it is what was asked for. The
gradient goes through that one step alone. The flow loss never shows the learner its own mistakes;
this one is made of them.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from model.schedule import ScheduleConfig, schedule
from model.training import pairs
from model.training.geometry import nearest, nearest_clip, overlap, places, turns
from model.training.learner import Learner, remade
from model.training.lessons import BESIDE_WEIGHT, SHORT, Lesson, beside
from model.training.pools import Clips
from model.training.reading import silence_of
from model.training.reward import SEEN, Reward, cross_entropies
from model.training.scenes import Scenes

#: How a request for kinora-tiny is sampled when it says nothing of it.
STEPS, GUIDANCE, SCHEDULE = 16, 3.5, ScheduleConfig(solver="euler", shift=4.0)
#: Between which of the steps a clip is looked at: noise levels from 0.97 to 0.65, where shapes are
#: decided.
FIRST, LAST = 2, 11
#: The same where frames are given: noise levels to 0.48, where places are.
LAST_PLACE = 13
#: At how many of these levels a clip is looked at on its way.
LOOKS = 3
#: The reward model is as sure of what is half done as of what is clean: its logits are divided by
#: so much.
SOFTER = 3.0
#: How much the outline, and the place of what goes on, weigh against the classes.
WEIGHTS = {"reward": 1.0, "bent": 2.0, "way": 4.0, "off": 2.0}


def loss_of(
    learner: Learner, reward: Reward, lesson: Lesson, generator: torch.Generator
) -> dict[str, Tensor]:
    """How far clips made of a lesson's prompts are from them (`judged`), at `LOOKS` levels."""
    weight = learner.transformer.proj_out.weight
    clips, clean = lesson.clips.to(weight.device), lesson.clean.to(weight.device)
    given = clips.latents.float()
    b = len(given)
    noise = torch.randn(given.shape, generator=generator).to(weight.device)
    levels = schedule(SCHEDULE, STEPS).sigmas.tolist()
    latest = LAST if lesson.own is None else LAST_PLACE
    looks = FIRST + torch.randperm(latest + 1 - FIRST, generator=generator)[:LOOKS]
    both = learner.read(torch.cat([clips.ids, silence_of(clips.ids)]))
    if lesson.own is not None:
        own = remade(learner, given, noise, both[:b], lesson.own.to(weight.device))
        given = torch.where(clean.long().cumprod(1).bool()[:, None, :, None, None], own, given)

    def velocity(text: Tensor, x: Tensor, level: float) -> Tensor:
        return learner.transformer(x.to(weight.dtype), level * 1000 * ~clean, text).float()

    def held(x: Tensor) -> Tensor:
        return torch.where(clean[:, None, :, None, None], given, x)

    x = held(noise)
    found: list[dict[str, Tensor]] = []
    for k, (level, following) in enumerate(pairwise(levels[: int(looks.max()) + 2])):
        with torch.set_grad_enabled(k in looks):
            said = velocity(both[:b], x, level)
        with torch.no_grad():
            silent = velocity(both[b:], x, level)
        guided = silent + GUIDANCE * (said - silent)
        if k in looks:
            found.append(judged(reward, lesson, clips, held(x - level * guided)))
        x = held(x + (following - level) * guided).detach()
    parts = {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}
    loss = torch.stack([part * WEIGHTS.get(name, 0) for name, part in parts.items()]).sum()
    return {"loss": loss} | {name: value.detach() for name, value in parts.items()}


def judged(reward: Reward, lesson: Lesson, clips: Clips, made: Tensor) -> dict[str, Tensor]:
    """How far clips that are made are from what was asked: `reward` by the classes of shape and
    background, with `right` the share of frames that have the shape, and `bent` by the outline in
    the opening frame. Of short clips that are made from nothing `way` is how far places and sizes
    are from the nearest way that the motion may take; where frames are given their way is known,
    and `off` is how far it is from that. Of two objects each is looked at in its half of the
    picture, for shape and colour. The rest the flow loss teaches.
    """
    clean = lesson.clean.to(made.device)
    asked = ("shape", "background") if len(clips.objects) == 1 else ("shape", "colour")
    found: list[dict[str, Tensor]] = []
    for scenes, coverage, rows, half in views(clips):
        logits, where = reward(half(made))
        seen = ((coverage.mean((2, 3)) > SEEN) & ~clean[rows]).float()
        scores = {name: logits[name] / SOFTER for name in asked}
        wrong = torch.stack(list(cross_entropies(scores, scenes, seen).values())).sum(0)
        right = (logits["shape"].argmax(-1) == scenes.shape[:, None]).float()
        masks, asked_of = where.sigmoid(), scenes.to("cpu")
        opening = masks[:, 0].detach().cpu()
        outline = nearest(opening, asked_of.shape, turns(asked_of)).to(masks)
        with torch.no_grad():
            there = reward(half(clips.latents.float()))[1].sigmoid()
        near = 1 + (BESIDE_WEIGHT - 1) * beside(clean[rows]).float()
        led = seen * near * clean[rows].any(1, keepdim=True)
        terms = {
            "reward": _mean(wrong, seen),
            "bent": _mean(1 - overlap(masks[:, 0], outline), seen[:, 0]),
            "off": _mean(1 - overlap(masks, there), led),
            "right": _mean(right, seen),
        }
        if has_way(lesson):
            true = places(nearest_clip(masks.detach().cpu(), asked_of)).to(masks)
            terms["way"] = _mean((places(masks) - true).norm(dim=2), seen)
        found.append(terms)
    return {name: torch.stack([f[name] for f in found]).mean() for name in found[0]}


def has_way(lesson: Lesson) -> bool:
    """Whether its clips are short ones of one object, made from nothing."""
    frames = lesson.clips.latents.shape[2]
    alone = len(lesson.clips.objects) == 1 and lesson.own is None
    return alone and 1 < frames <= (SHORT - 1) // 4 + 1


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    return (values * counts).sum() / counts.sum().clamp(min=1)


def views(clips: Clips) -> Iterator[tuple[Scenes, Tensor, Tensor, Callable[[Tensor], Tensor]]]:
    """What is to be looked at: scenes of one object each, their coverage, which clips these are,
    and what takes the part of latents where it is.
    """
    if len(clips.objects) == 1:
        yield clips.scenes, clips.coverage, torch.arange(len(clips.scenes)), lambda x: x
        return
    across = pairs.side_by_side(*(scenes for scenes, _ in clips.objects))
    for dim, which in ((-1, across), (-2, ~across)):
        rows = which.nonzero()[:, 0]
        for k, (scenes, coverage) in enumerate(clips.objects if len(rows) else ()):

            def half(x: Tensor, rows: Tensor = rows, k: int = k, dim: int = dim) -> Tensor:
                return x[rows].chunk(2, dim)[k]

            yield scenes.take(rows), half(coverage), rows, half
