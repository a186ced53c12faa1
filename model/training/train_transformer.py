"""Stage two: the diffusion transformer and its text encoder, trained together by flow matching.

Rectified flow (Liu et al. 2022, arXiv:2209.03003): x_s = (1 - s) x + s noise, and the network
predicts noise - x. Some latent frames of a clip are left clean (s = 0), so that one network learns
text to video, image to video, continuation and the frames between two ends (diffusion forcing,
Chen et al. 2024, arXiv:2407.01392). A throw-away head reads the renderer's truth from the tokens
of the middle layer, which binds words to places long before the flow loss does.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader

from model.text import TextEncoder
from model.training import checkpoints, language, latents, refl, reward
from model.training.latents import BUCKETS, Pool, count_path
from model.training.learner import TINY, Learner, remade, take_weights, to_compute
from model.training.lessons import (
    BESIDE_WEIGHT,
    Lesson,
    Lessons,
    beside,
    draw_lesson,
    draw_wishes,
)
from model.training.log import Log
from model.training.optim import Weights
from model.training.parallel import Backward, Helpers

# Matrices that AdamW steps: embeddings, and the layers that meet data, truth and what was said.
PLAIN = ("shared", "embed_tokens", "patch_embedding", "proj_out", "truth", "said", "attention_bias")
# The text encoder's queries stay as they are drawn: UMT5 does not scale attention, and where both
# sides of it grow each word soon looks at one other, wherever that is said.
HELD = ("SelfAttention.q",)
# How much more a token of the object weighs in the flow loss than one of the background.
OBJECT_WEIGHT = 5.0
# A clip's opening has half the deviation of later latent frames, and so a quarter of their errors;
# yet it is where the shape is drawn.
OPENING_WEIGHT = 3.0
# Share of the steps that learn from the reward model, if there is one, and how much they weigh.
REWARDED, REWARD_WEIGHT = 0.25, 0.1


@dataclass(frozen=True, slots=True)
class TransformerRun:
    """What one run of the stage does; `minutes` bounds it and shapes its learning rate."""

    folder: Path
    vae: Path
    minutes: float = 90.0
    tokens: int = 4200  # a step
    clips: int = 40_000  # size of the pool
    wait_for: int = 600  # clips in the pool before training begins
    lr: float = 1.5e-3
    seed: int = 0
    workers: int = 1  # processes that compute gradients, this one included
    loaders: int = 0  # processes that draw lessons ahead, for a GPU that would wait for them
    device: str = "cpu"
    bf16: bool = True
    start: Path | None = None  # a checkpoint folder to begin with, instead of random weights
    reward: Path | None = None  # a reward model to learn from as well, once shapes are drawn at all


def velocity_to(x: Tensor, given: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """What leads from `given` under noise of levels sigma `[b, t]` straight to the clip `x`.

    It is (lerp(given, noise, sigma) - x) / sigma: noise - x, as always, where `given` is `x`
    itself; a difference counts the more the less noise there is.
    """
    more = (1 / sigma.clamp(min=1e-3) - 1)[:, None, :, None, None]
    return noise - x + torch.where(given == x, 0, more * (given - x))


def loss_of(
    learner: Learner,
    tokenizer: TextEncoder,
    lesson: Lesson,
    truth_weight: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The flow loss, most of it where the object is, and the head's loss."""
    dtype = learner.transformer.proj_out.weight.dtype
    device = learner.transformer.proj_out.weight.device
    clips, clean = lesson.clips.to(device), lesson.clean.to(device)
    b, _, t, _, _ = clips.latents.shape
    x = clips.latents.float()
    seed = int(torch.randint(2**62, (), generator=generator))
    draws = torch.Generator(device).manual_seed(seed)

    def uniform() -> Tensor:
        return torch.rand(b, generator=draws, device=device)

    # Given frames carry up to 5 % noise, as the frames of an earlier window do.
    trace = 0.05 * uniform() * (uniform() < 0.5)
    sigma = torch.where(clean, trace[:, None], lesson.level.to(device)[:, None])  # b t
    noise = torch.randn(x.shape, generator=draws, device=device)
    text = tokenizer.encode(lesson.texts)
    wrong = lesson.bent.to(device)[:, None] & ~clean
    given = torch.where(wrong[:, None, :, None, None], clips.bent.float(), x)
    target = velocity_to(x, given, noise, sigma)
    if lesson.own is not None:
        own = remade(learner, x, noise, text, lesson.own.to(device))
        head = clean.long().cumprod(1).bool()
        given = torch.where(head[:, None, :, None, None], own, given)
    mixed = torch.lerp(given, noise, sigma[:, None, :, None, None])

    middle: list[Tensor] = []
    block = learner.transformer.blocks[TINY.num_layers // 2 - 1]
    handle = block.register_forward_hook(lambda *args: middle.append(args[2]))
    velocity = learner.transformer(mixed.to(dtype), sigma * 1000, text)
    handle.remove()
    error = (velocity.float() - target) ** 2
    # What is next to an object counts as much as the object: an outline has two sides.
    near = F.max_pool2d(clips.coverage, 3, stride=1, padding=1)
    weight = ~clean + (BESIDE_WEIGHT - 1) * beside(clean)
    # What is to be mended under little noise is far, and counts less.
    weight = weight * torch.where(wrong, (2 * sigma).clamp(max=1) ** 2, 1)
    cells = 1 + OBJECT_WEIGHT * near.repeat_interleave(2, 2).repeat_interleave(2, 3)
    weight = (weight[:, :, None, None] * cells)[:, None]
    flow = error * weight / (weight.sum() * error.shape[1])
    opening = clips.scenes.phase == 0
    flow = flow.sum() + (OPENING_WEIGHT - 1) * flow[opening, :, 0].sum()
    head = learner.truth.loss(middle[0].flatten(1, -2), clips, ~clean)
    spoken = torch.tensor([bool(caption) for caption in lesson.texts], device=device)
    if len(clips.objects) == 2 and spoken.any():
        head = head + learner.said.loss(text[spoken], [s.take(spoken) for s, _ in clips.objects])
    name = "still" if t == 1 else "video"
    return {"loss": flow + truth_weight * head, name: flow.detach(), "truth": head.detach()}


def train(run: TransformerRun) -> None:
    """Train until `run.minutes` are over; goes on from the last checkpoint in `run.folder`."""
    torch.manual_seed(run.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    language.build_tokenizer(run.folder)
    filler = latents.start_filling(
        run.folder / "pool", run.vae, clips=run.clips, seed=run.seed, device=run.device
    )
    learner = Learner()
    if run.start is not None:
        take_weights(learner, run.start)
    learner.to(run.device)
    tokenizer = _text(learner, run.folder)
    weights = Weights(learner, lr=run.lr, ema=0.998, plain=PLAIN, held=HELD)
    if run.bf16:
        to_compute(learner, torch.bfloat16)
    spent = 0.0
    if (found := checkpoints.load(run.folder / "state")) is not None:
        weights.restore(found[0])
        spent = found[1]["minutes"]
    _wait_for_pools(run, filler)
    helpers = Helpers(run.workers - 1, learner, prepare, (run,), seed=run.seed)
    backward = backward_of(learner, tokenizer, _draw(run, weights.steps), run)
    log = Log(run.folder / "log.jsonl", f"transformer {run.minutes:.0f} min")
    start, saved = time.monotonic() - spent * 60, time.monotonic()
    while (minutes := (time.monotonic() - start) / 60) < run.minutes:
        done = minutes / run.minutes
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + weights.steps)
        terms = backward(generator, done)
        helped = helpers.join_in(learner, done)
        scale = min(1.0, (weights.steps + 1) / 100) * (0.02 + 0.98 * min(1.0, (1 - done) / 0.6))
        norm = weights.step(scale)
        log.step(weights.steps, done, **terms, norm=norm, helped=helped)
        if time.monotonic() - saved > 300:
            checkpoints.save(
                run.folder / "state", weights.state(), {"step": weights.steps, "minutes": minutes}
            )
            saved = time.monotonic()
    checkpoints.save(
        run.folder / "state", weights.state(), {"step": weights.steps, "minutes": run.minutes}
    )
    log.close()
    helpers.close()
    filler.terminate()


def backward_of(
    learner: Learner,
    tokenizer: TextEncoder,
    draw: Callable[[torch.Generator], Lesson],
    run: TransformerRun,
) -> Backward:
    """What computes the gradients of one step; returns the terms of its loss."""
    judge = None if run.reward is None else reward.load(run.reward).to(run.device)
    pools = _pools(run)

    def backward(generator: torch.Generator, done: float) -> dict[str, float]:
        if judge is not None and float(torch.rand((), generator=generator)) < REWARDED:
            lesson = draw_wishes(run.tokens, pools, generator)
            terms = refl.loss_of(learner, tokenizer, judge, lesson, generator)
            terms["loss"] = terms["loss"] * REWARD_WEIGHT
        else:
            truth_weight = 0.5 if done < 0.75 else 0.1
            terms = loss_of(learner, tokenizer, draw(generator), truth_weight, generator)
        terms["loss"].backward()
        return {k: float(v.detach()) for k, v in terms.items() if k != "loss"}

    return backward


def prepare(learner: Learner, run: TransformerRun) -> Backward:
    """`backward_of` in another process, whose learner shares the trainer's weights."""
    draw = partial(draw_lesson, run.tokens, _pools(run))
    return backward_of(learner, _text(learner, run.folder), draw, run)


def _draw(run: TransformerRun, step: int) -> Callable[[torch.Generator], Lesson]:
    """Lessons drawn here by a step's generator, or ahead by other processes."""
    if not run.loaders:
        return partial(draw_lesson, run.tokens, _pools(run))
    data = Lessons(run.tokens, partial(_pools, run), seed=run.seed + step)
    loader = DataLoader(
        data, batch_size=None, num_workers=run.loaders, multiprocessing_context="spawn"
    )
    lessons = iter(loader)
    return lambda _: next(lessons)


def _text(learner: Learner, folder: Path) -> TextEncoder:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    return TextEncoder(learner.text, tokenizer, language.MAX_LENGTH)


def _pools(run: TransformerRun) -> list[Pool]:
    channels = json.loads((run.vae / "vae" / "config.json").read_text())["z_dim"]
    folder = run.folder / "pool"
    return [Pool(folder, bucket, channels, run.clips, "r") for bucket in BUCKETS]


def _wait_for_pools(run: TransformerRun, filler: BaseProcess) -> None:
    while True:
        paths = [count_path(run.folder / "pool", bucket) for bucket in BUCKETS]
        counts = [int(p.read_text()) if p.exists() else 0 for p in paths]
        if sum(counts) >= min(run.wait_for, run.clips) and min(counts) > 0:
            return
        if not filler.is_alive():
            raise ValueError("the process that renders and encodes clips ended; its error is above")
        time.sleep(1)
