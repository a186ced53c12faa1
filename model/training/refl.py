"""Learning from a reward: what the sampler makes is shown to a reward model on its way.

Reward feedback learning (Xu et al. 2023, ImageReward, arXiv:2304.05977): from noise the learner
takes a random number of the sampler's steps as it will when it is used, guidance and all, and the
reward model says of the clean clip that the next step expects whether it is what was asked for. The
gradient goes through that last step alone. The flow loss never shows the learner its own mistakes;
this one is made of them.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from model.schedule import ScheduleConfig, schedule
from model.text import TextEncoder
from model.training.geometry import nearest, overlap
from model.training.learner import Learner, remade
from model.training.lessons import BESIDE_WEIGHT, Lesson, beside
from model.training.reward import SEEN, Reward

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
    learner: Learner,
    tokenizer: TextEncoder,
    reward: Reward,
    lesson: Lesson,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """How far clips made of a lesson's prompts are from their shapes: `reward` by their class,
    `bent` by the outline in the opening frame, and `right`, the share of frames that have them.
    Where frames are given the way of the object is known too, and `off` is how far it is from that.
    The rest the flow loss teaches.
    """
    weight = learner.transformer.proj_out.weight
    clips, clean = lesson.clips.to(weight.device), lesson.clean.to(weight.device)
    given = clips.latents.float()
    b, _, t, _, _ = given.shape
    noise = torch.randn(given.shape, generator=generator).to(weight.device)
    levels = schedule(SCHEDULE, STEPS).sigmas.tolist()
    latest = LAST if lesson.own is None else LAST_PLACE
    last = int(torch.randint(FIRST, latest + 1, (), generator=generator))
    both = tokenizer.encode(lesson.texts + [""] * b)
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
    logits, where = reward(made)
    seen = ((clips.coverage.mean((2, 3)) > SEEN) & ~clean).float()

    def mean(values: Tensor, counts: Tensor) -> Tensor:
        return (values * counts).sum() / counts.sum().clamp(min=1)

    scores = logits["shape"].flatten(0, 1)
    asked = clips.scenes.shape.repeat_interleave(t)
    each = F.cross_entropy(scores / SOFTER, asked, reduction="none")
    loss, right = (mean(v, seen.flatten()) for v in (each, (scores.argmax(1) == asked).float()))
    mask = where[:, 0].sigmoid()
    outline = nearest(mask.detach().cpu(), lesson.clips.scenes.shape).to(mask)
    bent = mean(1 - overlap(mask, outline), seen[:, 0])
    with torch.no_grad():
        there = reward(clips.latents.float())[1].sigmoid()
    near = 1 + (BESIDE_WEIGHT - 1) * beside(clean).float()
    off = mean(1 - overlap(where.sigmoid(), there), seen * near * clean.any(1, keepdim=True))
    parts = {"reward": loss, "bent": bent, "off": off, "right": right}
    parts = {name: value.detach() for name, value in parts.items()}
    return {"loss": loss + BENT_WEIGHT * bent + OFF_WEIGHT * off} | parts
