"""Learning from a reward: what the sampler makes is shown to a reward model on its way.

Reward feedback learning (Xu et al. 2023, ImageReward, arXiv:2304.05977): from noise the learner
takes a random number of the sampler's steps as it will when it is used, guidance and all, and the
reward model says of the clean clip that the next step expects whether it is what was asked for. The
gradient goes through that last step alone. The flow loss never shows the learner its own mistakes;
this one is made of them.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from model.schedule import ScheduleConfig, schedule
from model.training import pairs
from model.training.geometry import nearest, overlap, turns
from model.training.learner import Learner, remade
from model.training.lessons import BESIDE_WEIGHT, Lesson, beside
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
#: The reward model is as sure of what is half done as of what is clean: its logits are divided by
#: so much.
SOFTER = 3.0
#: How much the outline, and the place of what goes on, weigh against the class.
BENT_WEIGHT, OFF_WEIGHT = 2.0, 2.0


def loss_of(
    learner: Learner, reward: Reward, lesson: Lesson, generator: torch.Generator
) -> dict[str, Tensor]:
    """How far clips made of a lesson's prompts are from their shapes: `reward` by their class,
    `bent` by the outline in the opening frame, and `right`, the share of frames that have them.
    Where frames are given the way of the object is known too, and `off` is how far it is from that.
    Of two objects each is looked at in its half of the picture, and its colour too. The rest the
    flow loss teaches.
    """
    weight = learner.transformer.proj_out.weight
    clips, clean = lesson.clips.to(weight.device), lesson.clean.to(weight.device)
    given = clips.latents.float()
    b = len(given)
    noise = torch.randn(given.shape, generator=generator).to(weight.device)
    levels = schedule(SCHEDULE, STEPS).sigmas.tolist()
    latest = LAST if lesson.own is None else LAST_PLACE
    last = int(torch.randint(FIRST, latest + 1, (), generator=generator))
    both = learner.read(torch.cat([clips.ids, silence_of(clips.ids)]))
    if lesson.own is not None:
        own = remade(learner, given, noise, both[:b], lesson.own.to(weight.device))
        given = torch.where(clean.long().cumprod(1).bool()[:, None, :, None, None], own, given)

    def velocity(text: Tensor, x: Tensor, level: float) -> Tensor:
        time = level * 1000 * ~clean.repeat(len(x) // b, 1)
        return learner.transformer(x.to(weight.dtype), time, text).float()

    def held(x: Tensor) -> Tensor:
        return torch.where(clean[:, None, :, None, None], given, x)

    x = held(noise)
    with torch.no_grad():
        for level, following in pairwise(levels[: last + 1]):
            said, silent = velocity(both.detach(), torch.cat([x, x]), level).chunk(2)
            x = held(x + (following - level) * (silent + GUIDANCE * (said - silent)))
        silent = velocity(both[b:], x, levels[last])
    said = velocity(both[:b], x, levels[last])
    made = held(x - levels[last] * (silent + GUIDANCE * (said - silent)))
    asked = ("shape",) if len(clips.objects) == 1 else ("shape", "colour")
    found: list[dict[str, Tensor]] = []
    for scenes, coverage, rows, half in views(clips):
        logits, where = reward(half(made))
        seen = ((coverage.mean((2, 3)) > SEEN) & ~clean[rows]).float()
        scores = {name: logits[name] / SOFTER for name in asked}
        wrong = torch.stack(list(cross_entropies(scores, scenes, seen).values())).sum(0)
        right = (logits["shape"].argmax(-1) == scenes.shape[:, None]).float()
        mask = where[:, 0].sigmoid()
        asked_of = scenes.to("cpu")
        outline = nearest(mask.detach().cpu(), asked_of.shape, turns(asked_of)).to(mask)
        with torch.no_grad():
            there = reward(half(clips.latents.float()))[1].sigmoid()
        near = 1 + (BESIDE_WEIGHT - 1) * beside(clean[rows]).float()
        led = seen * near * clean[rows].any(1, keepdim=True)
        found.append(
            {
                "reward": _mean(wrong, seen),
                "bent": _mean(1 - overlap(mask, outline), seen[:, 0]),
                "off": _mean(1 - overlap(where.sigmoid(), there), led),
                "right": _mean(right, seen),
            }
        )
    parts = {name: torch.stack([f[name] for f in found]).mean() for name in found[0]}
    loss = parts["reward"] + BENT_WEIGHT * parts["bent"] + OFF_WEIGHT * parts["off"]
    return {"loss": loss} | {name: value.detach() for name, value in parts.items()}


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
