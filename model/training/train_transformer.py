"""Stage two: the diffusion transformer and its text encoder, trained together by flow matching.

Rectified flow (Liu et al. 2022, arXiv:2209.03003): x_s = (1 - s) x + s noise, and the network
predicts noise - x. Some latent frames of a clip are left clean (s = 0), so that one network learns
text to video, image to video, continuation and the frames between two ends (diffusion forcing,
Chen et al. 2024, arXiv:2407.01392). Two throw-away heads read the renderer's truth, from the tokens
of a middle layer and from the words.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from model.training import checkpoints, language, latents
from model.training.latents import Idea, Ideas, Pool
from model.training.learner import TINY, Learner, remade, take_weights, to_compute
from model.training.lessons import BESIDE_WEIGHT, Lesson, beside, draw_lesson
from model.training.log import Log
from model.training.optim import Weights
from model.training.scenes import OBJECTS
from model.training.weights import load_vae
from model.vae import VAE

# Matrices that AdamW steps: embeddings, and the layers that meet data, truth and what was said.
PLAIN = ("shared", "embed_tokens", "patch_embedding", "proj_out", "truth", "said", "attention_bias")
# The text encoder's queries stay as they are drawn: UMT5 does not scale attention, and where both
# sides of it grow each word soon looks at one other, wherever that is said.
HELD = ("SelfAttention.q",)
# How much more a token of the object weighs in the flow loss than one of the background.
OBJECT_WEIGHT = 4.0
# How much the opening frame of a clip weighs: it is one of many, and the object is drawn there.
OPENING_WEIGHT = 3.0
# Weight of the heads' losses, until so much of the run is over, and after that.
HEADS, HEADS_UNTIL, HEADS_AFTER = 0.5, 0.75, 0.1
# Share of the time, at most, that goes into drawing new clips.
DRAWING = 0.15
# The layer whose tokens the truth is read from, as a share of the depth.
MIDDLE = 0.5


@dataclass(frozen=True, slots=True)
class TransformerRun:
    """What one run of the stage does; `minutes` bounds it and shapes its learning rate."""

    folder: Path
    vae: Path  # a folder with an exported `vae`
    minutes: float = 120.0
    until: float | None = None  # stop after so many minutes of them; a later run goes on
    tokens: int = 4200  # of a step
    clips: int = 20_000  # room of the pools
    wait_for: int = 400  # clips drawn before training begins
    pixels: int = 4_000_000  # of the clips that are drawn together
    lr: float = 2.5e-3
    seed: int = 0
    loaders: int = 0  # processes that think of clips ahead
    device: str = "cpu"
    bf16: bool = True
    compiled: bool = False  # blocks, by torch.compile
    waits: bool = False  # for an autoencoder and a text encoder that are still being trained
    start: Path | None = None  # a checkpoint folder to begin with, instead of random weights


def loss_of(
    learner: Learner, lesson: Lesson, heads: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The flow loss, most of it where objects are, and the heads' losses."""
    dtype = learner.transformer.proj_out.weight.dtype
    clips, clean = lesson.clips, lesson.clean
    x = clips.latents.float()
    sigma = torch.where(clean, lesson.trace[:, None], lesson.level[:, None])  # b t
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    nothing = F.pad(clips.ids.new_ones(1), (0, clips.ids.shape[1] - 1))  # the end mark alone
    text = learner.read(torch.where(lesson.spoken[:, None], clips.ids, nothing))
    given = x
    if lesson.own is not None:
        own = remade(learner, x, noise, text, lesson.own)
        head = clean.long().cumprod(1).bool()
        given = torch.where(head[:, None, :, None, None], own, x)
    mixed = torch.lerp(given, noise, sigma[:, None, :, None, None])

    middle: list[Tensor] = []
    handle = middle_block(learner).register_forward_hook(lambda *args: middle.append(args[2]))
    velocity = learner.transformer(mixed.to(dtype), sigma * 1000, text)
    handle.remove()
    error = (velocity.float() - (noise - x)) ** 2
    # What is next to an object counts as much as the object: an outline has two sides.
    near = F.max_pool2d(clips.coverage.sum(1).clamp(max=1), 3, stride=1, padding=1)
    weight = ~clean + (BESIDE_WEIGHT - 1) * beside(clean)
    cells = 1 + OBJECT_WEIGHT * near.repeat_interleave(2, 2).repeat_interleave(2, 3)
    weight = (weight[:, :, None, None] * cells)[:, None]
    flow = error * weight / (weight.sum() * error.shape[1])
    flow = flow.sum() + (OPENING_WEIGHT - 1) * (flow[:, :, 0].sum() if lesson.opens else 0)
    truth = learner.truth.loss(middle[0].flatten(1, -2), clips, ~clean)
    said = learner.said.loss(text, clips.labels, clips.present(), lesson.spoken)
    name = "still" if x.shape[2] == 1 else "video"
    told = {name: flow.detach(), "truth": truth.detach(), "said": said.detach()}
    return {"loss": flow + heads * truth + 0.2 * heads * said} | told


def middle_block(learner: Learner) -> nn.Module:
    """The block whose tokens the truth is read from."""
    blocks = learner.transformer.blocks
    return blocks[round(MIDDLE * len(blocks)) - 1]


def compile_blocks(learner: Learner) -> None:
    """Compile the blocks, once for all sizes.

    The first and the middle one stay as they are: what the first is given is a view, and the middle
    one has a hook, for either of which all would be compiled again.
    """
    for block in learner.transformer.blocks[1:]:
        if block is not middle_block(learner):
            block.compile(dynamic=True)


def train(run: TransformerRun) -> None:
    """Train until `run.minutes` are over; goes on from the last checkpoint in `run.folder`."""
    torch.manual_seed(run.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    language.build_tokenizer(run.folder)
    learner = Learner().to(run.device)
    draws = torch.Generator(run.device).manual_seed(run.seed)
    ideas = _ideas(run)
    if run.compiled:
        compile_blocks(learner)
        _rehearse(learner, draws, run)
    _wait_for(run)
    if run.start is not None:
        take_weights(learner, run.start)
    weights = Weights(learner, lr=run.lr, ema=0.998, plain=PLAIN, held=HELD)
    if run.bf16:
        to_compute(learner, torch.bfloat16)
    spent = 0.0
    if (found := checkpoints.load(run.folder / "state")) is not None:
        weights.restore(found[0])
        spent = found[1]["minutes"]
    vae = load_vae(run.vae).to(run.device, torch.bfloat16 if run.bf16 else torch.float32)
    pools = latents.new_pools(vae.config.z_dim, run.clips, run.device)
    filling = Filling(vae, pools, ideas, run.device)
    filling.until(run.wait_for)
    filling.check()
    log = Log(run.folder / "log.jsonl", f"transformer {run.minutes:.0f} min")
    start = saved = time.monotonic()
    told: list[dict[str, Tensor]] = []
    end = run.minutes if run.until is None else min(run.minutes, run.until)
    while (minutes := spent + (time.monotonic() - start) / 60) < end:
        done = minutes / run.minutes
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + weights.steps)
        lesson = draw_lesson(run.tokens, pools, generator)
        heads = HEADS if done < HEADS_UNTIL else HEADS_AFTER
        terms = loss_of(learner, lesson, heads, draws)
        terms["loss"].backward()
        scale = min(1.0, (weights.steps + 1) / 100) * (0.01 + 0.99 * min(1.0, (1 - done) / 0.6))
        terms["norm"] = weights.step(scale)
        filling.go_on(time.monotonic() - start)
        told.append(terms)
        if len(told) == 10:  # numbers are asked for seldom, as a device then has to be waited for
            for number, each in enumerate(told, weights.steps - 9):
                kept = {k: float(v.detach()) for k, v in each.items() if k != "loss"}
                log.step(number, done, **kept, clips=float(filling.drawn))
            told = []
        if time.monotonic() - saved > 240:
            _save(run, weights, minutes)
            saved = time.monotonic()
    _save(run, weights, end)
    log.close()


class Filling:
    """Draws clips into the pools, now and then, so that it takes a bounded share of the time."""

    def __init__(self, vae: VAE, pools: list[Pool], ideas: Iterator[Idea], device: str) -> None:
        self.vae, self.pools, self.ideas, self.device = vae, pools, ideas, device
        self.drawn, self.seconds = 0, 0.0

    def once(self) -> None:
        """Draw the clips of one idea."""
        self._wait()
        begun = time.monotonic()
        idea = next(self.ideas)
        self.pools[idea.bucket].add(idea, *latents.draw(self.vae, idea, self.device))
        self.drawn += len(idea.scenes)
        self._wait()
        self.seconds += time.monotonic() - begun

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def until(self, clips: int) -> None:
        """Draw until there are so many clips, and some of every kind."""
        while self.drawn < clips or min(map(len, self.pools)) == 0:
            self.once()
        self.seconds = 0.0  # its share is of what comes after these

    def check(self) -> None:
        """Raise ValueError where latents are not of about unit deviation, as noise is."""
        std = float(torch.cat([p.latents[: len(p)].float().flatten() for p in self.pools]).std())
        if not 0.5 < std < 2:
            raise ValueError(
                f"vae/config.json: latents_std must be that of the latents, whose deviation is "
                f"{std:.2f} of it; run the vae or polish stage again"
            )

    def go_on(self, elapsed: float) -> None:
        """Draw if its share of the time so far has not been used."""
        if self.seconds < DRAWING * elapsed:
            self.once()


def _wait_for(run: TransformerRun) -> None:
    """Return when other processes have written what this run begins with."""
    needed = [run.vae / "vae" / "config.json"]
    if run.start is not None:
        needed.append(run.start / "text_encoder")
    while run.waits and not all(path.exists() for path in needed):
        time.sleep(0.2)


def _ideas(run: TransformerRun) -> Iterator[Idea]:
    """Ideas thought of here, or ahead by other processes; others than before if it goes on."""
    seed = run.seed if checkpoints.load(run.folder / "state") is None else time.time_ns() % 2**31
    data = Ideas(run.pixels, seed=seed)
    if not run.loaders:
        return iter(data)
    loader = DataLoader(
        data,
        batch_size=None,
        num_workers=run.loaders,
        multiprocessing_context="spawn",
        prefetch_factor=2,
    )
    return map(latents.on_host, loader)


def _rehearse(learner: Learner, draws: torch.Generator, run: TransformerRun) -> None:
    """Have all be compiled, on noise."""
    if run.bf16:
        to_compute(learner, torch.bfloat16)
    pools = latents.new_pools(TINY.in_channels, 200, run.device)
    for k, pool in enumerate(pools):
        idea, size = latents.think(k, 2, 0), latents.BUCKETS[k].latent_size
        noise = torch.randn(2, TINY.in_channels, *size, device=run.device)
        cells = torch.zeros(2, OBJECTS, size[0], size[1] // 2, size[2] // 2, device=run.device)
        pool.add(idea, noise, cells)
    for seed in range(40):
        lesson = draw_lesson(2000, pools, torch.Generator().manual_seed(seed))
        loss_of(learner, lesson, HEADS, draws)["loss"].backward()
    learner.zero_grad()
    learner.float()


def _save(run: TransformerRun, weights: Weights, minutes: float) -> None:
    meta = {"step": weights.steps, "minutes": minutes}
    checkpoints.save(run.folder / "state", weights.state(), meta)
