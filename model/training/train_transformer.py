"""Stage two: the diffusion transformer and its text encoder, trained together by flow matching.

Rectified flow (Liu et al. 2022, arXiv:2209.03003): x_s = (1 - s) x + s noise, and the network
predicts noise - x. Some latent frames of a clip are left clean (s = 0), so that one network learns
text to video, image to video, continuation and the frames between two ends (diffusion forcing,
Chen et al. 2024, arXiv:2407.01392). A throw-away head reads the renderer's truth from the tokens
of the middle layer, which binds words to places long before the flow loss does.
"""

import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental import _config as fx_config

from model.memory import compute_dtype
from model.training import language, refl, reward
from model.training.course import Course, rate
from model.training.filling import Filling, start_filling
from model.training.learner import TINY, Learner, remade, take_weights, to_compute
from model.training.lessons import BESIDE_WEIGHT, Lesson, beside, draw_lesson, draw_wishes
from model.training.optim import Weights
from model.training.parallel import Backward, Helpers
from model.training.pools import RECORD, SAID, Pool, new_pools
from model.training.reading import silence_of
from model.training.weights import described_vae, load_vae

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
# Share of a run from finished weights in which the throw-away heads, which begin anew, learn to
# read (AdamW steps them as far at any weight) before they have a say: they cost what was learnt.
ANEW = 0.1
# Steps whose losses are told together, as a GPU has to be waited for to know them.
TOLD_TOGETHER = 10
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
    compiled: bool = False  # the transformer's blocks, by torch.compile
    lr: float = 1.5e-3
    seed: int = 0
    workers: int = 1  # processes that compute gradients, this one included
    loaders: int = 0  # processes that draw clips, for a trainer that encodes them itself
    device: str = "cpu"
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
    learner: Learner, lesson: Lesson, truth_weight: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The flow loss, most of it where the object is, and the head's loss."""
    dtype = learner.transformer.proj_out.weight.dtype
    device = learner.transformer.proj_out.weight.device
    clips, clean = lesson.clips.to(device), lesson.clean.to(device, non_blocking=True)
    b, _, t, _, _ = clips.latents.shape
    x = clips.latents.float()
    seed = int(torch.randint(2**62, (), generator=generator))
    draws = torch.Generator(device).manual_seed(seed)

    def uniform() -> Tensor:
        return torch.rand(b, generator=draws, device=device)

    # Given frames carry up to 5 % noise, as the frames of an earlier window do.
    trace = 0.05 * uniform() * (uniform() < 0.5)
    level = lesson.level.to(device, non_blocking=True)
    sigma = torch.where(clean, trace[:, None], level[:, None])  # b t
    noise = torch.randn(x.shape, generator=draws, device=device)
    spoken = lesson.spoken.to(device, non_blocking=True)
    text = learner.read(torch.where(spoken[:, None], clips.ids, silence_of(clips.ids)))
    wrong = lesson.bent.to(device, non_blocking=True)[:, None] & ~clean
    given = torch.where(wrong[:, None, :, None, None], clips.bent.float(), x)
    target = velocity_to(x, given, noise, sigma)
    if lesson.own is not None:
        own = remade(learner, x, noise, text, lesson.own.to(device))
        head = clean.long().cumprod(1).bool()
        given = torch.where(head[:, None, :, None, None], own, given)
    mixed = torch.lerp(given, noise, sigma[:, None, :, None, None])

    middle: list[Tensor] = []
    handle = middle_block(learner).register_forward_hook(lambda *args: middle.append(args[2]))
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
    opening = (clips.scenes.phase == 0)[:, None, None, None]
    flow = flow.sum() + (OPENING_WEIGHT - 1) * (flow[:, :, 0] * opening).sum()
    head = learner.truth.loss(middle[0].flatten(1, -2), clips, ~clean)
    if len(clips.objects) == 2:
        head = head + learner.said.loss(text, [s for s, _ in clips.objects], spoken)
    name = "still" if t == 1 else "video"
    return {"loss": flow + truth_weight * head, name: flow.detach(), "truth": head.detach()}


def middle_block(learner: Learner) -> nn.Module:
    """The block whose tokens the truth is read from."""
    return learner.transformer.blocks[TINY.num_layers // 2 - 1]


def compile_blocks(learner: Learner) -> None:
    """Compile the blocks, once for all sizes.

    The first and the middle one stay as they are: what the first is given is a view, and the middle
    one has a hook, for either of which all would be compiled again.
    """
    # Sizes that happen to be alike once are no rule: one more reason to compile again.
    fx_config.use_duck_shape = False
    for block in learner.transformer.blocks[1:]:
        if block is not middle_block(learner):
            block.compile(dynamic=True)


def train(run: TransformerRun) -> None:
    """Train until `run.minutes` are over; goes on from the last checkpoint in `run.folder`."""
    torch.manual_seed(run.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    language.build_tokenizer(run.folder)
    learner = Learner()
    if run.start is not None:
        take_weights(learner, run.start)
    learner.to(run.device)
    weights = Weights(learner, lr=run.lr, ema=0.996, plain=PLAIN, held=HELD)
    dtype = compute_dtype(run.device)
    to_compute(learner, dtype)
    course, seed = Course(run.folder, "transformer", run.minutes), run.seed
    if course.found is not None:
        weights.restore(course.found)
        seed += weights.steps  # a run that goes on is shown other clips, if these are not on disk
    pools = _pools(run)
    filling, filler = None, None
    if run.loaders:
        vae = load_vae(run.vae).to(run.device, dtype).requires_grad_(requires_grad=False)
        filling = Filling(vae, pools, run.folder, tokens=run.tokens, seed=seed, loaders=run.loaders)
    else:
        filler = start_filling(
            run.folder / "pool",
            run.vae,
            run.folder,
            tokens=run.tokens,
            clips=run.clips,
            seed=run.seed,
        )
    if run.compiled:
        compile_blocks(learner)
        _rehearse(learner, run)
    if filling is not None:
        filling.until(run.wait_for)
    elif filler is not None:
        _wait_for(pools, run, filler)
    helpers = Helpers(run.workers - 1, learner, prepare, (run,), seed=seed)
    backward = backward_of(learner, run, pools)
    told: list[dict[str, Tensor]] = []
    for done, log in course.steps(weights.state):
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + weights.steps)
        terms = backward(generator, done)
        terms["helped"] = torch.tensor(float(helpers.join_in(learner, done)))
        terms["norm"] = weights.step(rate(weights.steps, done, warmup=100))
        if filling is not None:
            filling.go_on()
        told.append(terms)
        if len(told) == TOLD_TOGETHER:
            clips = float(sum(pool.drawn for pool in pools))
            for number, each in enumerate(told, weights.steps - TOLD_TOGETHER + 1):
                log.step(number, done, **{k: float(v) for k, v in each.items()}, clips=clips)
            told = []
    helpers.close()
    if filling is not None:
        filling.close()
    if filler is not None:
        filler.terminate()


def backward_of(learner: Learner, run: TransformerRun, pools: list[Pool]) -> Backward:
    """What computes the gradients of one step; returns the terms of its loss."""
    judge = None if run.reward is None else reward.load(run.reward).to(run.device)

    def backward(generator: torch.Generator, done: float) -> dict[str, Tensor]:
        if judge is not None and float(torch.rand((), generator=generator)) < REWARDED:
            lesson = draw_wishes(run.tokens, pools, generator)
            terms = refl.loss_of(learner, judge, lesson, generator)
            terms["loss"] = terms["loss"] * REWARD_WEIGHT
        else:
            truth_weight = 0.5 if done < 0.75 else 0.1
            if run.start is not None and done < ANEW:
                truth_weight = 0.01
            lesson = draw_lesson(run.tokens, pools, generator)
            terms = loss_of(learner, lesson, truth_weight, generator)
        terms.pop("loss").backward()
        return {k: v.detach() for k, v in terms.items()}

    return backward


def prepare(learner: Learner, run: TransformerRun) -> Backward:
    """`backward_of` in another process, whose learner shares the trainer's weights."""
    return backward_of(learner, run, _pools(run))


def _pools(run: TransformerRun) -> list[Pool]:
    channels = described_vae(run.vae)["z_dim"]
    folder = None if run.loaders else run.folder / "pool"
    return new_pools(channels, run.clips, folder=folder, device=run.device)


def _wait_for(pools: list[Pool], run: TransformerRun, filler: BaseProcess) -> None:
    while True:
        counts = [pool.drawn for pool in pools]
        if sum(counts) >= min(run.wait_for, run.clips) and min(counts) > 0:
            return
        if not filler.is_alive():
            raise ValueError("the process that renders and encodes clips ended; its error is above")
        time.sleep(1)


def _rehearse(learner: Learner, run: TransformerRun) -> None:
    """Have all be compiled, on noise."""
    pools = noisy_pools(run.device)
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        lesson = draw_lesson(2000, pools, generator)
        loss_of(learner, lesson, 0.5, generator)["loss"].backward()
    learner.zero_grad()


def noisy_pools(device: str) -> list[Pool]:
    """Pools of two clips each, which are noise."""
    pools = new_pools(TINY.in_channels, 400, folder=None, device=device)
    for k, pool in enumerate(pools):
        t, h, w = pool.bucket.latent_size
        noise = torch.randn(2, TINY.in_channels, t, h, w, device=device)
        bent = noise if pool.bucket.bent else None
        cells = torch.rand(2, pool.bucket.objects, t, h // 2, w // 2)
        records = torch.zeros(2, pool.bucket.objects, RECORD)
        records[1, :, -1] = float(k % 2)
        pool.add(noise, bent, cells, records, torch.ones(2, SAID, language.MAX_LENGTH))
    return pools
