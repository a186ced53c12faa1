"""A detector that says what a clip shows: object, colour, motion, background, style, and track.

A small convolutional network on thirteen frames, enough to see what goes up and down twice a
second. It finds the object's mask first; shape and colour are read inside the mask, background and
style over the whole picture, and motion from the mask's track (centre and area over time) and from
how much what is inside it changes (what spins stays in its place), so a clip that stands still can
never count as moving.
It learns from rendered scenes and from scenes that went through the autoencoder, because a
detector that only knows clean renders misjudges decoded pictures.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.training import pairs, rendering, scenes, trajectories
from model.training.learner import coloured
from model.training.log import Log
from model.training.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, STYLES, Scenes
from model.vae import VAE

ATTRIBUTES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "motion": MOTIONS,
    "background": BACKGROUNDS,
    "style": STYLES,
}
SAMPLES = 13  # frames looked at, over a clip of any length but that of a picture
HEIGHT = 64  # pixels of the picture's shorter side as the network sees it
SHIPPED = Path(__file__).parents[1] / "weights" / "detector.safetensors"
MIN_PRESENCE = 0.004  # share of the picture that the mask must cover in its best frame
#: Share of the training that shows an object of two in its half, and of that which shows pictures,
#: of which so many cost as much as a clip.
PAIRED, PICTURE, PICTURES = 0.4, 0.5, 8
#: Batches of decoded clips that are kept, as they cost more than drawn ones.
STOCK = 120
UNASKED = -100  # what `cross_entropy` ignores


@dataclass(frozen=True, slots=True)
class Seen:
    """What the detector saw in `b` clips; every attribute is an index `[b]`, -1 for no object."""

    shape: Tensor
    colour: Tensor
    motion: Tensor
    background: Tensor
    style: Tensor
    track: Tensor  # [b, 13, 3]: centre x, centre y (picture coordinates), covered share


class Detector(nn.Module):
    """Frames `[b, 3, f, h, w]` in [-1, 1] to logits, mask `[b, f, h/8, w/8]` and track.

    A picture, of one frame, is looked at once and stands still.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        w = width
        self.early = nn.Sequential(
            nn.Conv2d(3, w, 5, 2, 2), nn.GroupNorm(4, w), nn.SiLU(),
            nn.Conv2d(w, 2 * w, 3, 2, 1), nn.GroupNorm(4, 2 * w), nn.SiLU(),
            nn.Conv2d(2 * w, 2 * w, 3, 1, 1), nn.GroupNorm(4, 2 * w), nn.SiLU(),
        )  # fmt: skip
        self.late = nn.Sequential(
            nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.GroupNorm(4, 4 * w), nn.SiLU(),
            nn.Conv2d(4 * w, 4 * w, 3, 1, 1), nn.GroupNorm(4, 4 * w), nn.SiLU(),
            nn.Conv2d(4 * w, 4 * w, 3, 1, 2, dilation=2), nn.GroupNorm(4, 4 * w), nn.SiLU(),
        )  # fmt: skip
        self.mask = nn.Conv2d(4 * w, 1, 1)
        self.shape = _head(4 * w, len(SHAPES))
        self.colour = _head(2 * w, len(COLOURS))
        self.background = _head(4 * w, len(BACKGROUNDS))
        self.style = _head(8 * w, len(STYLES))
        self.changes = nn.Linear(4 * w, 16)
        self.motion = nn.Sequential(
            nn.Linear(SAMPLES * 3 * 2 + 16, 160), nn.SiLU(), nn.Linear(160, 80), nn.SiLU(),
            nn.Linear(80, len(MOTIONS)),
        )  # fmt: skip

    def forward(self, frames: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        b, _, f, height, width = frames.shape
        early = self.early(frames.transpose(1, 2).flatten(0, 1))
        late = self.late(early)
        logits = self.mask(late)
        mask = logits.sigmoid()
        h, w = mask.shape[2:]
        inside = mask / mask.sum((2, 3), keepdim=True).clamp(min=1e-3)
        outside = (1 - mask) / (1 - mask).sum((2, 3), keepdim=True).clamp(min=1e-3)
        fine = F.interpolate(mask, size=early.shape[2:], mode="bilinear")
        fine = fine / fine.sum((2, 3), keepdim=True).clamp(min=1e-3)
        # Frames in which more of the object is seen say more about it.
        seen = mask.mean((2, 3)).view(b, f, 1)
        seen = seen / seen.sum(1, keepdim=True).clamp(min=1e-4)

        def over_time(x: Tensor, weight: Tensor | float = 1 / f) -> Tensor:
            return (x.view(b, f, -1) * weight).sum(1)

        each = (late * inside).sum((2, 3))
        in_object = over_time(each, seen)
        each = each.view(b, f, -1).expand(-1, SAMPLES, -1)  # frame by frame
        change = (each.diff(dim=1).square().mean(1) + 1e-6).sqrt()
        around = over_time((late * outside).sum((2, 3)))
        y = torch.linspace(-1, 1, h, device=mask.device) * min(1, height / width)
        x = torch.linspace(-1, 1, w, device=mask.device) * min(1, width / height)
        # Coordinates in half picture heights of the shorter side's scale.
        scale = max(height, width) / height
        cx = (inside * x[None, None, None]).sum((2, 3)) * scale
        cy = (inside * y[None, None, :, None]).sum((2, 3)) * scale
        track = torch.stack([cx, cy, mask.mean((2, 3))], -1).view(b, f, 3).expand(-1, SAMPLES, -1)
        size = track[..., 2:].clamp(min=1e-4).log() * 0.5
        path = torch.cat([track[..., :2], size], -1)
        relative = path - path.mean(1, keepdim=True)
        heads = {
            "shape": self.shape(in_object),
            "colour": self.colour(over_time((early * fine).sum((2, 3)), seen)),
            "background": self.background(around),
            "style": self.style(torch.cat([in_object, around], -1)),
            "motion": self.motion(
                torch.cat([path.flatten(1) * 0.3, relative.flatten(1) * 3, self.changes(change)], 1)
            ),
        }
        return heads, logits.view(b, f, h, w), track

    @torch.no_grad()
    def look(self, clip: Tensor) -> Seen:
        """What one or more clips `[b, 3, f, h, w]` in [-1, 1], of any length and size, show."""
        heads, _, track = self(prepare(clip))
        present = track[..., 2].amax(1) > MIN_PRESENCE
        choice = {name: scores.argmax(1) for name, scores in heads.items()}
        for name in ("shape", "colour", "motion"):
            choice[name] = torch.where(present, choice[name], -1)
        return Seen(**choice, track=track)


def prepare(clip: Tensor) -> Tensor:
    """Frames spread over the clip, the shorter side resized to what the network sees."""
    b, _, f, h, w = clip.shape
    index = torch.linspace(0, f - 1, SAMPLES if f > 1 else 1).round().long()
    frames = clip[:, :, index].transpose(1, 2).flatten(0, 1)
    factor = HEIGHT / min(h, w)
    size = (round(h * factor / 8) * 8, round(w * factor / 8) * 8)
    frames = F.interpolate(frames, size=size, mode="bilinear", antialias=True)
    return frames.unflatten(0, (b, len(index))).transpose(1, 2)


def _head(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, 96), nn.SiLU(), nn.Linear(96, classes))


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
        torch.rand(len(batch))[:, None, None, None, None] < 0.5,
        torch.randn_like(frames).clamp(-1, 1),
        frames * 0 + frames.mean((3, 4), keepdim=True),
    )
    _, nothing, _ = detector(empty[:4])
    losses["empty"] = F.binary_cross_entropy_with_logits(nothing, torch.zeros_like(nothing))
    return losses


def train(folder: Path, vae: VAE, *, minutes: float, seed: int = 0, batch: int = 16) -> Detector:
    """Train a detector for `minutes`, or the one in `folder`/detector.safetensors further."""
    torch.manual_seed(seed)
    path = folder / "detector.safetensors"
    detector = load(path).train() if path.exists() else Detector()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3, weight_decay=1e-3)
    log = Log(folder / "detector.jsonl", f"detector {minutes:.0f} min")
    stock: list[tuple[Scenes, Tensor, Tensor]] = []
    start = saved = time.monotonic()
    step = 0
    while (done := (time.monotonic() - start) / 60 / minutes) < 1:
        generator = torch.Generator().manual_seed(seed * 999_983 + step)
        decoded = step % 2 == 1 and done > 0.1
        if decoded and (len(stock) < STOCK or step % 6 == 1):
            stock = [*stock[1 - STOCK :], draw(batch // 2, generator, vae)]
        if decoded:
            pick = torch.randint(len(stock), (), generator=generator)
            scenes_, frames, coverage = stock[int(pick)]
        else:
            scenes_, frames, coverage = draw(batch, generator)
        brightness = 1 + 0.1 * torch.randn(len(scenes_), 1, 1, 1, 1, generator=generator)
        noise = 0.03 * torch.randn(frames.shape, generator=generator)
        losses = loss_of(detector, scenes_, (frames * brightness + noise).clamp(-1, 1), coverage)
        sum(losses.values(), start=torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 50) * min(1, (1 - done) * 2)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        log.step(step, done, **{k: float(v.detach()) for k, v in losses.items()})
        if time.monotonic() - saved > 180:
            _save(detector, path)
            saved = time.monotonic()
    _save(detector, path)
    return detector.eval()


def _save(detector: Detector, path: Path) -> None:
    partial = path.with_suffix(".part")
    save_file(detector.state_dict(), partial)
    partial.replace(path)


def load(path: Path) -> Detector:
    """The detector in a safetensors file."""
    detector = Detector()
    detector.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return detector.eval()
