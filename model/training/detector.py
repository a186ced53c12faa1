"""A detector that says what a clip shows: object, colour, motion, background, style, and track.

A small convolutional network on thirteen frames, enough to see what goes up and down twice a
second. It finds the object's mask first; shape and colour are read inside the mask, background and
style over the whole picture, and motion from the mask's track (centre and area over time) and from
how much what is inside it changes (what spins stays in its place), so a clip that stands still can
never count as moving. `train_detector.py` teaches it.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.training.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, STYLES
from model.training.weights import read

ATTRIBUTES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "motion": MOTIONS,
    "background": BACKGROUNDS,
    "style": STYLES,
}
SAMPLES = 13  # frames looked at, over a clip of any length but that of a picture
HEIGHT = 96  # pixels of the picture's shorter side as the network sees it
SHIPPED = Path(__file__).parents[1] / "weights" / "detector.safetensors"
MIN_PRESENCE = 0.004  # share of the picture that the mask must cover in its best frame


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
        pictures = frames.transpose(1, 2).flatten(0, 1)
        early = self.early(pictures.to(next(self.early.parameters()).dtype))
        late, early = self.late(early).float(), early.float()
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


def load(path: Path) -> Detector:
    """The detector in a safetensors file."""
    detector = Detector()
    detector.load_state_dict({k: v.float() for k, v in read(path).items()})
    return detector.eval()
