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
from model.training import captions
from model.training.latents import Clips
from model.training.learner import Learner
from model.training.reward import SEEN, Reward

#: How a request for kinora-tiny is sampled when it says nothing of it.
STEPS, GUIDANCE, SCHEDULE = 16, 3.5, ScheduleConfig(solver="euler", shift=4.0)
#: Between which of the steps a clip is looked at: noise levels from 0.97 to 0.65, where shapes are
#: decided.
FIRST, LAST = 2, 11
#: The reward model is as sure of what is half done as of what is clean: its logits are divided by
#: so much.
SOFTER = 3.0


def loss_of(
    learner: Learner,
    tokenizer: TextEncoder,
    reward: Reward,
    clips: Clips,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """How far clips made of the prompts of `clips` are from their shapes, and the share of frames
    that have them. Shape is all that is asked for: the rest the flow loss teaches.
    """
    weight = learner.transformer.proj_out.weight
    b, _, t, _, _ = clips.latents.shape
    texts = captions.describe(clips.scenes, generator)
    x = torch.randn(clips.latents.shape, generator=generator).to(weight.device)
    levels = schedule(SCHEDULE, STEPS).sigmas.tolist()
    last = int(torch.randint(FIRST, LAST + 1, (), generator=generator))

    def velocity(text: Tensor, x: Tensor, level: float) -> Tensor:
        time = torch.full((len(x), t), level * 1000, device=x.device)
        return learner.transformer(x.to(weight.dtype), time, text).float()

    with torch.no_grad():
        both = tokenizer.encode(texts + [""] * b)
        for level, following in pairwise(levels[: last + 1]):
            said, silent = velocity(both, torch.cat([x, x]), level).chunk(2)
            x = x + (following - level) * (silent + GUIDANCE * (said - silent))
        silent = velocity(both[b:], x, levels[last])
    said = velocity(tokenizer.encode(texts), x, levels[last])
    clean = x - levels[last] * (silent + GUIDANCE * (said - silent))
    scores = reward(clean)[0]["shape"].flatten(0, 1)
    asked = clips.scenes.shape.repeat_interleave(t).to(x.device)
    seen = (clips.coverage.mean((2, 3)) > SEEN).flatten().float().to(x.device)
    each = F.cross_entropy(scores / SOFTER, asked, reduction="none")
    right = (scores.argmax(1) == asked).float()
    loss, right = ((v * seen).sum() / seen.sum().clamp(min=1) for v in (each, right))
    return {"loss": loss, "reward": loss.detach(), "right": right}
