"""The detector's training: scenes that it is shown, rendered and after the autoencoder.

A detector that only knows clean renders misjudges decoded pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from model.memory import compute_dtype
from model.training import pairs, rendering, scenes, trajectories
from model.training.course import Course, rate
from model.training.detector import SAMPLES, Detector, load, prepare
from model.training.learner import coloured
from model.training.optim import Weights
from model.training.scenes import MOTIONS, Scenes
from model.training.weights import load_vae
from model.vae import VAE

#: Share of the training that shows an object of two in its half, and of that which shows pictures,
#: of which so many cost as much as a clip.
PAIRED, PICTURE, PICTURES = 0.4, 0.5, 8
#: Batches of decoded clips that are kept, as they cost more than drawn ones.
STOCK = 120
UNASKED = -100  # what `cross_entropy` ignores
BATCH = 16


def draw(
    count: int, generator: torch.Generator, vae: VAE | None = None
) -> tuple[Scenes, Tensor, Tensor]:
    """Scenes of all pairs of attributes, what the network sees of their clips, or of pictures of
    `PICTURES` times as many, and its mask; with a `vae`, after a round trip through it.
    """
    height, width = _one_of(((160, 256), (192, 192), (256, 160)), generator)
    aspect = width / height
    picture = _chance(PICTURE, generator)
    count, each = (count * PICTURES, 1) if picture else (count, SAMPLES)
    fps = (SAMPLES - 1) / trajectories.OPENING_S
    if vae is not None and not picture:
        each, fps = 2 * SAMPLES - 1, 2 * fps

    def seen(frames: Tensor) -> Tensor:
        return prepare(frames if vae is None else _after(vae, frames))

    if _chance(PAIRED, generator):
        pair = of_two(count // 2, generator, aspect)
        frames, covers = pairs.render(pair, each, height, width, fps=fps)
        batch, frames, coverage = halves(pair, frames, covers)
    else:
        held_out = _chance(0.4, generator)
        batch = scenes.sample(count, generator, aspect=aspect, held_out=held_out)
        moments = torch.arange(each) / fps
        if picture:
            moments = trajectories.OPENING_S * torch.rand(1, generator=generator)
        path = trajectories.track(batch, moments, trajectories.OPENING_S, aspect)
        frames, coverage = rendering.render(batch, each, height, width, seconds=moments, path=path)
    if picture:
        batch = replace(batch, motion=torch.full_like(batch.motion, MOTIONS.index("still")))
    frames = seen(frames)
    cells = (frames.shape[3] // 8, frames.shape[4] // 8)
    coverage = F.interpolate(coverage[:, :: 1 if each <= SAMPLES else 2], size=cells, mode="area")
    return batch, frames, coverage


@torch.no_grad()
def _after(vae: VAE, frames: Tensor) -> Tensor:
    latents = vae.encode(frames.to(next(vae.parameters()).dtype))
    return vae.decode(latents).float().clamp(-1, 1)


def of_two(count: int, generator: torch.Generator, aspect: float) -> tuple[Scenes, Scenes]:
    """So many pairs, all beside each other or all above."""
    held_out = _chance(0.4, generator)
    pair = pairs.sample(12 * count, generator, held_out=held_out, aspect=aspect)
    across = pairs.side_by_side(*pair)
    rows = (across == across[0]).nonzero()[:count, 0]
    return pair[0].take(rows), pair[1].take(rows)


def halves(
    pair: tuple[Scenes, Scenes], frames: Tensor, covers: tuple[Tensor, Tensor]
) -> tuple[Scenes, Tensor, Tensor]:
    """Each object of pairs in its half of the picture, as `modes.py` looks at them.

    Nothing is asked of the background there: the upper half of a meadow is sky.
    """
    dim = -1 if pairs.side_by_side(*pair)[0] else -2
    coverage = [cover.chunk(2, dim)[k] for k, cover in enumerate(covers)]
    batch = _joined(pair)
    batch = replace(batch, background=torch.full_like(batch.background, UNASKED))
    return batch, torch.cat(frames.chunk(2, dim)), torch.cat(coverage)


def _joined(batches: Sequence[Scenes]) -> Scenes:
    return Scenes(*(torch.cat([getattr(s, n) for s in batches]) for n in Scenes.__slots__))


def _one_of(sizes: tuple[tuple[int, int], ...], generator: torch.Generator) -> tuple[int, int]:
    return sizes[int(torch.randint(len(sizes), (), generator=generator))]


def _chance(share: float, generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < share)


def loss_of(
    detector: Detector, batch: Scenes, frames: Tensor, coverage: Tensor
) -> dict[str, Tensor]:
    """Cross-entropy of every attribute, and of the mask; empty pictures teach it to see nothing."""
    heads, mask, _ = detector(frames)
    losses = {"mask": 2 * F.binary_cross_entropy_with_logits(mask, coverage)}
    for name, scores in heads.items():
        truth = getattr(batch, name)
        each = F.cross_entropy(scores, truth, reduction="none", label_smoothing=0.02)
        if name == "colour":
            each = each * coloured(batch.style)
        losses[name] = each.mean()
    empty = torch.where(
        torch.rand(len(batch), device=frames.device)[:, None, None, None, None] < 0.5,
        torch.randn_like(frames).clamp(-1, 1),
        frames * 0 + frames.mean((3, 4), keepdim=True),
    )
    _, nothing, _ = detector(empty[:4])
    losses["empty"] = F.binary_cross_entropy_with_logits(nothing, torch.zeros_like(nothing))
    return losses


@dataclass(frozen=True, slots=True)
class DetectorRun:
    """What one run of the stage does; `minutes` bounds it and shapes its learning rate."""

    folder: Path
    vae: Path  # that of the folder's `vae`
    target: Path  # the file to write; one that is there is trained further
    minutes: float = 12.0
    lr: float = 2e-3
    seed: int = 0
    device: str = "cpu"  # the detector's; clips are drawn and decoded on the CPU


def train(run: DetectorRun) -> None:
    """Train until `run.minutes` are over; goes on from the last checkpoint in `run.folder`."""
    torch.manual_seed(run.seed)
    vae = load_vae(run.vae).to(compute_dtype("cpu"))
    detector = (load(run.target) if run.target.exists() else Detector()).to(run.device)
    weights = Weights(detector, lr=run.lr)
    for convolutions in (detector.early, detector.late):
        convolutions.to(compute_dtype(run.device))
    course = Course(run.folder, "detector", run.minutes)
    if course.found is not None:
        weights.restore(course.found)
    stock: list[tuple[Scenes, Tensor, Tensor]] = []
    for done, log in course.steps(weights.state):
        generator = torch.Generator().manual_seed(run.seed * 999_983 + weights.steps)
        decoded = weights.steps % 2 == 1 and done > 0.1
        if decoded and (len(stock) < STOCK or weights.steps % 6 == 1):
            stock = [*stock[1 - STOCK :], draw(BATCH // 2, generator, vae)]
        if decoded:
            pick = torch.randint(len(stock), (), generator=generator)
            batch, frames, coverage = stock[int(pick)]
        else:
            batch, frames, coverage = draw(BATCH, generator)
        brightness = 1 + 0.1 * torch.randn(len(batch), 1, 1, 1, 1, generator=generator)
        noise = 0.03 * torch.randn(frames.shape, generator=generator)
        frames = (frames * brightness + noise).clamp(-1, 1).to(run.device)
        losses = loss_of(detector, batch.to(run.device), frames, coverage.to(run.device))
        torch.stack(list(losses.values())).sum().backward()
        norm = float(weights.step(rate(weights.steps, done)))
        values = {k: float(v.detach()) for k, v in losses.items()}
        log.step(weights.steps, done, **values, norm=norm)
    partial = run.target.with_suffix(".part")
    save_file(weights.averaged(), partial)
    partial.replace(run.target)
