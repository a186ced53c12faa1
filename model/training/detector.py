"""A detector that says what a clip shows: object, colour, motion, background, style, and track.

A small convolutional network on thirteen frames. It finds the object's mask first; colour is read
inside the mask, shape from a close-up of what it covers, background and style over the whole
picture. Motion is read from the mask's track (centre and area over time) and from how the close-up
changes, as of what spins; so a clip that stands still can never count as moving. The camera is read
from how the surroundings flow. It learns from rendered scenes and from scenes that went through the
autoencoder, because a detector that only knows clean renders misjudges decoded pictures.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.training import scenes
from model.training.log import Log
from model.training.rendering import render
from model.training.scenes import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    LAYOUTS,
    MOTIONS,
    SHAPES,
    STYLES,
    Scenes,
)
from model.training.sight import CLOSE, EVEN, close_up, flow, ruler, shares
from model.vae import VAE

ATTRIBUTES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "motion": MOTIONS,
    "background": BACKGROUNDS,
    "style": STYLES,
}
#: What the network tells; of the camera only some ask.
HEADS = {**ATTRIBUTES, "camera": CAMERAS}
SAMPLES = 13  # frames looked at, over a clip of any length
HEIGHT = 80  # pixels of the picture's shorter side as the network sees it
MASK = 4  # pixels of it that are one of the mask
SHIPPED = Path(__file__).parents[1] / "weights" / "detector.safetensors"
MIN_PRESENCE = 0.004  # share of the picture that the mask must cover in its best frame
#: Backgrounds on which nobody sees a camera move, and styles that hide colours.
PLAIN, GRAY = ("white", "black", "gray", "gradient"), ("bw", "sketch")
#: How pictures of several objects are looked at: cut into as many parts, one an object.
PARTS = {"beside": 2, "above": 2, "three": 3}
#: Share of lessons that are seen by any camera, where the others are as scenes are.
MOVED = 0.35
#: Steps' learning rate, batches of decoded clips that are kept, and steps between lines of the log.
RATE, STOCK, EVERY = 2e-3, 60, 20
#: Channels of an object's look whose change tells of motion, and cells of the mask around it where
#: its shadow or its glow may be, which go with it.
LOOK, AURA = 16, 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What the detector saw in `b` clips; every attribute is an index `[b]`, -1 for no object."""

    shape: Tensor
    colour: Tensor
    motion: Tensor
    background: Tensor
    style: Tensor
    camera: Tensor
    track: Tensor  # [b, 13, 3]: centre x, centre y (picture coordinates), covered share


class Detector(nn.Module):
    """Frames `[b, 3, 13, h, w]` in [-1, 1] to logits, mask `[b, 13, h/4, w/4]` and track."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.early = nn.Sequential(_conv(3, w, 5, 2), _conv(w, 2 * w, 3, 2), _conv(2 * w, 2 * w))
        self.late = nn.Sequential(_conv(2 * w, 4 * w, 3, 2), _conv(4 * w, 4 * w))
        # So coarse that all of the picture is seen: of several objects the middle one is meant.
        self.deep = nn.Sequential(_conv(4 * w, 4 * w, 3, 2), _conv(4 * w, 4 * w))
        self.near, self.far = nn.Conv2d(2 * w, w, 1), nn.Conv2d(4 * w, w, 1)
        self.mask = nn.Conv2d(w, 1, 3, 1, 1)
        self.close = nn.Sequential(
            _conv(4, w, 3, 2), _conv(w, 2 * w, 3, 2), _conv(2 * w, 4 * w, 3, 2), nn.Flatten(),
            nn.Linear(4 * w * (CLOSE // 8) ** 2, 4 * w), nn.SiLU(),
        )  # fmt: skip
        self.shape = _head(8 * w, len(SHAPES))
        self.colour = _head(2 * w + 9, len(COLOURS))
        self.background = _head(4 * w + 3, len(BACKGROUNDS))
        self.style = _head(12 * w + 9, len(STYLES))
        self.camera = _head(4 * w + 6, len(CAMERAS))
        self.look_of = nn.Linear(4 * w, LOOK)
        self.motion = nn.Sequential(
            nn.Linear(SAMPLES * (6 + LOOK) + 6, 192), nn.SiLU(), nn.Linear(192, 96), nn.SiLU(),
            nn.Linear(96, len(MOTIONS)),
        )  # fmt: skip

    def forward(
        self, frames: Tensor, hint: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """`hint` is the mask to take close-ups by, where it is not -1: in training, its own is not
        good enough for long.
        """
        b, _, f, height, width = frames.shape
        pictures = frames.transpose(1, 2).flatten(0, 1)
        early = self.early(pictures)
        late = self.late(early)
        late = late + _to(self.deep(late), late)
        logits = self.mask(F.silu(self.near(early) + _to(self.far(late), early)))
        mask = logits.sigmoid()
        inside, outside = shares(mask), shares(1 - mask)
        coarse = F.avg_pool2d(mask, 2)
        # Frames in which more of the object is seen say more about it.
        seen = mask.mean((2, 3)).view(b, f, 1)
        seen = seen / seen.sum(1, keepdim=True).clamp(min=1e-4)

        def over_time(x: Tensor, weight: Tensor | float = 1 / SAMPLES) -> Tensor:
            return (x.view(b, f, -1) * weight).sum(1)

        y = ruler(mask.shape[2], 1, mask)[:, None]
        x = ruler(mask.shape[3], width / height, mask)
        cx, cy = (inside * x).sum((1, 2, 3)), (inside * y).sum((1, 2, 3))
        track = torch.stack([cx, cy, mask.mean((1, 2, 3))], -1).view(b, f, 3)
        shown = mask.detach()
        if hint is not None:
            hint = hint.flatten(0, 1)[:, None]
            shown = torch.where(hint >= 0, hint, shown)
        close = self.close(close_up(pictures, shown, x, y))
        in_object = over_time((late * shares(coarse)).sum((2, 3)), seen)
        around = over_time((late * shares(1 - coarse)).sum((2, 3)))
        # What norms take from the features: how bright it truly is.
        rgb = F.avg_pool2d(pictures, MASK)
        paint = over_time((rgb * inside).sum((2, 3)), seen)
        paint_squared = over_time((rgb**2 * inside).sum((2, 3)), seen)
        wall = over_time((rgb * outside).sum((2, 3)))
        paints = torch.cat([paint, paint_squared, wall], 1)
        form = torch.cat([in_object, over_time(close, seen)], 1)

        size = track[..., 2:].clamp(min=1e-4).log() * 0.5
        path = torch.cat([track[..., :2], size], -1)
        turned = self.look_of(close).view(b, f, LOOK)
        # How the surroundings flow teaches the mask nothing: least squares are steep.
        clear = 1 - F.max_pool2d(mask.detach(), 2 * AURA + 1, 1, AURA)
        clear, small = clear.unflatten(0, (b, f)), rgb.unflatten(0, (b, f))
        flows = torch.cat([flow(small, clear, x, y, even) for even in EVEN], 1) * 30
        changes = (path * 0.3, (path - path.mean(1, keepdim=True)) * 3, turned - turned[:, :1])
        colour = torch.cat([over_time((early * inside).sum((2, 3)), seen), paints], 1)
        heads = {
            "shape": self.shape(form),
            "colour": self.colour(colour),
            "motion": self.motion(torch.cat([*(c.flatten(1) for c in changes), flows], 1)),
            "background": self.background(torch.cat([around, wall], 1)),
            "style": self.style(torch.cat([form, around, paints], 1)),
            # Waves and rain flow as well: what is around says what that is worth.
            "camera": self.camera(torch.cat([around.detach(), flows], 1)),
        }
        return heads, logits.view(b, f, *mask.shape[2:]), track

    @torch.no_grad()
    def look(self, clip: Tensor) -> Seen:
        """What one or more clips `[b, 3, f, h, w]` in [-1, 1], of any length and size, show."""
        heads, _, track = self(prepare(clip.to(self.mask.weight.device)))
        heads, track = {name: scores.cpu() for name, scores in heads.items()}, track.cpu()
        present = track[..., 2].amax(1) > MIN_PRESENCE
        choice = {name: scores.argmax(1) for name, scores in heads.items()}
        for name in ("shape", "colour", "motion"):
            choice[name] = torch.where(present, choice[name], -1)
        return Seen(**choice, track=track)


def prepare(clip: Tensor) -> Tensor:
    """Thirteen frames spread over the clip, the shorter side resized to what the network sees."""
    b, _, f, h, w = clip.shape
    index = torch.linspace(0, f - 1, SAMPLES).round().long()
    frames = clip[:, :, index.to(clip.device)].transpose(1, 2).flatten(0, 1)
    factor = HEIGHT / min(h, w)
    size = (round(h * factor / 8) * 8, round(w * factor / 8) * 8)
    frames = F.interpolate(frames, size=size, mode="bilinear", antialias=True)
    return frames.unflatten(0, (b, SAMPLES)).transpose(1, 2)


class Lesson(NamedTuple):
    """What the network sees `[b, 3, 13, h, w]`, the object's mask, and what is true, -1 for what
    cannot be told.
    """

    frames: Tensor
    mask: Tensor  # [b, 13, h/4, w/4]
    truth: dict[str, Tensor]

    def split(self, count: int) -> list["Lesson"]:
        """Lessons of at most so many of the clips."""
        parts = [slice(i, i + count) for i in range(0, len(self.frames), count)]
        return [
            Lesson(self.frames[at], self.mask[at], {n: v[at] for n, v in self.truth.items()})
            for at in parts
        ]


def draw(
    count: int, generator: torch.Generator, device: torch.device | str, vae: VAE | None = None
) -> Lesson:
    """Scenes of all pairs at some size; with `vae`, the full clips after a round trip through it.

    Of scenes with several objects parts are seen, in which one of them is meant, or all of the
    picture, which only says where they are.
    """

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    short, long, square = (128, 208, 144) if vae is None else (160, 256, 192)
    height, width = ((short, long), (square, square), (long, short))[pick(3)]
    kind = pick(9)
    layout = "alone" if kind < 6 else tuple(PARTS)[pick(3)] if kind < 8 else LAYOUTS[1 + pick(5)]
    several = [
        scenes.sample(n, generator, held_out=i == 1, aspect=width / height, layout=layout)
        for i, n in enumerate((count // 2, count - count // 2))
    ]
    batch = Scenes(*(torch.cat([getattr(s, n) for s in several]) for n in Scenes.__slots__))
    moved = torch.rand(count, generator=generator) < MOVED
    cameras = torch.randint(len(CAMERAS), (count,), generator=generator)
    batch = replace(batch, camera=torch.where(moved, cameras, batch.camera))
    parts = PARTS[layout] if 6 <= kind < 8 else 1
    each, k = torch.arange(count), torch.randint(parts, (count,), generator=generator)
    down = stacked(layout, height, width)
    h, w = (height // parts, width) if down else (height, width // parts)
    top, left = (k * h, k * 0) if down else (k * 0, k * w)
    if vae is None:
        clip, coverage = render(
            batch, SAMPLES, height, width, fps=8.0, window=(top, left, h, w), device=device
        )
    else:
        whole, seen = render(batch, 2 * SAMPLES - 1, height, width, device=device)
        dtype = next(vae.parameters()).dtype
        with torch.no_grad():
            few = [vae.decode(vae.encode(some)) for some in whole.to(dtype).split(16)]
        whole = torch.cat(few).float().clamp(-1, 1)
        where = [
            (..., slice(None, None, 2), slice(y, y + h), slice(x, x + w))
            for y, x in zip(top.tolist(), left.tolist(), strict=True)
        ]
        clip = torch.stack([c[at] for c, at in zip(whole, where, strict=True)])
        coverage = torch.stack([c[at] for c, at in zip(seen, where, strict=True)])
    coverage = coverage.sum(1) if kind == 8 else coverage[each.to(device), k.to(device)]
    truth = {name: getattr(batch, name) for name in HEADS}
    truth = {name: v if v.dim() == 1 else v[each, k] for name, v in truth.items()}
    hidden = {
        "colour": _among(batch.style, GRAY, STYLES),
        "background": torch.tensor(down and parts > 1),  # of grass the sky, of the sea as well
        "camera": _among(batch.background, PLAIN, BACKGROUNDS),
    }
    if kind == 8:
        hidden |= dict.fromkeys(("shape", "colour", "motion"), torch.tensor(True))
    truth |= {name: truth[name].masked_fill(unknown, -1) for name, unknown in hidden.items()}
    frames = prepare(clip)
    size = (frames.shape[3] // MASK, frames.shape[4] // MASK)
    mask = F.interpolate(coverage.clamp(max=1), size=size, mode="area")
    return Lesson(frames, mask, {name: v.to(device) for name, v in truth.items()})


def stacked(layout: str, height: int, width: int) -> bool:
    """Whether objects stand above each other, and not beside, in a picture of this size."""
    return layout == "above" or (layout == "three" and height > width)


def loss_of(detector: Detector, lesson: Lesson) -> dict[str, Tensor]:
    """Cross-entropy of every attribute, and of the mask; empty pictures teach it to see nothing."""
    frames, target, truth = lesson
    own = torch.rand(len(frames), 1, 1, 1, device=frames.device) < 0.5
    heads, mask, _ = detector(frames, target.masked_fill(own, -1))
    losses = {"mask": 4 * F.binary_cross_entropy_with_logits(mask, target)}
    gone = target.mean((2, 3)).amax(1) < MIN_PRESENCE
    for name, scores in heads.items():
        known = truth[name]
        if name in ("shape", "colour", "motion"):
            known = known.masked_fill(gone, -1)
        each = F.cross_entropy(
            scores, known, ignore_index=-1, reduction="none", label_smoothing=0.02
        )
        losses[name] = each.sum() / (known >= 0).sum().clamp(min=1)
    few = frames[: max(2, len(frames) // 8)]
    noisy = torch.rand(len(few), 1, 1, 1, 1, device=few.device) < 0.5
    flat = few.mean((3, 4), keepdim=True).expand_as(few)
    _, nothing, _ = detector(torch.where(noisy, torch.randn_like(few).clamp(-1, 1), flat))
    losses["empty"] = F.binary_cross_entropy_with_logits(nothing, torch.zeros_like(nothing))
    return losses


def train(
    folder: Path,
    vae: VAE,
    *,
    minutes: float,
    seed: int = 0,
    batch: int = 16,
    device: torch.device | str = "cpu",
) -> Detector:
    """Train a detector for `minutes`, or the one in `folder`/detector.safetensors further."""
    torch.manual_seed(seed)
    path = folder / "detector.safetensors"
    detector = load(path) if path.exists() else Detector()
    detector, vae = detector.train().to(device), vae.to(device)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=RATE, weight_decay=1e-3)
    log = Log(folder / "detector.jsonl", f"detector {minutes:g} min")
    drawn: list[Lesson] = []
    through: list[Lesson] = []
    sums = torch.zeros((), device=device)
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / 60 / minutes) < 1:
        generator = torch.Generator().manual_seed(seed * 999_983 + step)
        # Every second step sees decoded clips. Lessons take long to make, and are seen more often
        # than once; on a GPU two at once take as long as one.
        decoded = step % 2 == 1 and done > 0.05
        stock = through if decoded else drawn
        if step % 6 < 2 or not stock:
            count, by = (batch // 2, vae) if decoded else (2 * batch, None)
            stock.extend(draw(count, generator, device, by).split(batch))
            del stock[:-STOCK]
        lesson = stock[int(torch.randint(len(stock), (), generator=generator))]
        frames = lesson.frames
        brightness = 1 + 0.1 * torch.randn(len(frames), 1, 1, 1, 1, device=frames.device)
        frames = frames * brightness + 0.02 * torch.randn_like(frames)
        losses = loss_of(detector, lesson._replace(frames=frames.clamp(-1, 1)))
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 50) * min(1, (1 - done) * 2)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        sums = sums + torch.stack(list(losses.values())).detach()
        if step % EVERY == 0:  # each look at a number waits for the device
            means = (sums / EVERY).tolist()
            log.step(step, done, **dict(zip(losses, means, strict=True)))
            sums = torch.zeros((), device=device)
    log.close()
    detector = detector.cpu().eval()
    save_file({k: v.half() for k, v in detector.state_dict().items()}, path)
    return detector


def load(path: Path) -> Detector:
    """The detector in a safetensors file."""
    detector = Detector()
    detector.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return detector.eval()


def _conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2)
    return nn.Sequential(conv, nn.GroupNorm(4, c_out), nn.SiLU())


def _head(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, 96), nn.SiLU(), nn.Linear(96, classes))


def _among(index: Tensor, names: tuple[str, ...], table: tuple[str, ...]) -> Tensor:
    return torch.isin(index, torch.tensor([table.index(n) for n in names], device=index.device))


def _to(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear")
