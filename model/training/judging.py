"""Who makes clips and looks at them, and what is measured of a clip."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model import Pipeline, Request
from model.training.cases import FPS, Case, right
from model.training.detector import PARTS, Detector, stacked
from model.training.scenes import LAYOUTS, Scenes
from model.vae import VAE

#: Frames over which a velocity is read.
SPAN = 13
#: How far a velocity may be off: a share of the true one, or so many half heights a second.
SPEED_OFF, SPEED_LEAST = 0.35, 0.15
#: A mean step between frames, in half the range of grey levels, that nobody sees.
INVISIBLE = 0.02

# Numbers are averaged, the rest counted; None says nothing.
Verdict = dict[str, bool | float | None]
Made = tuple[Tensor, Verdict]  # a clip `[1, 3, f, h, w]` in [-1, 1], and what is to be said of it


@dataclass(frozen=True, slots=True)
class Judge:
    """A checkpoint and who looks at what it makes; clips are in host memory."""

    pipeline: Pipeline
    detector: Detector
    vae: VAE

    def make(self, asked: Case, **fields: object) -> Tensor:
        """The clip `[1, 3, f, h, w]` in [-1, 1] of a case, with more fields of its request."""
        common = {"width": asked.width, "height": asked.height, "seed": asked.seed}
        request = Request(**({"prompt": asked.prompt} | common | fields))  # type: ignore[arg-type]
        clip = torch.cat([chunk.cpu() for chunk in self.pipeline.generate(request)])
        return clip.permute(3, 0, 1, 2)[None].float() / 127.5 - 1

    @torch.no_grad()
    def after(self, clip: Tensor) -> Tensor:
        """A clip after the autoencoder."""
        clip = clip.to(next(self.vae.parameters()).device)
        return self.vae.decode(self.vae.encode(clip)).clamp(-1, 1).cpu()

    def sees(self, clip: Tensor, scene: Scenes, *names: str, k: int = 0) -> Verdict:
        """Which of these attributes are right, of the k-th object or around it."""
        found = right(self.detector.look(clip), scene, k)
        return {name: found[name] for name in names}

    def sees_each(self, clip: Tensor, scene: Scenes, *names: str) -> Verdict:
        """Which attributes are right of all objects, each looked at in its part of the picture, and
        what is around them.
        """
        around = self.sees(clip, scene, "background", "style")
        layout = LAYOUTS[int(scene.layout[0])]
        parts = clip.chunk(PARTS[layout], dim=3 if stacked(layout, *clip.shape[3:]) else 4)
        each = [self.sees(part, scene, *names, k=k) for k, part in enumerate(parts)]
        return every(each) | around

    def velocity(self, clip: Tensor) -> Tensor:
        """Half heights a second `[2]` of the object over a clip of SPAN frames."""
        centres = self.detector.look(clip).track[0, :, :2]
        seconds = torch.linspace(0, (SPAN - 1) / FPS, len(centres))
        seconds = seconds - seconds.mean()
        return (seconds[:, None] * centres).sum(0) / (seconds**2).sum()

    def goes_on(self, clip: Tensor, real: Tensor) -> bool:
        """Whether the object moves as it truly does."""
        made, true = self.velocity(clip), self.velocity(real)
        return float((made - true).norm()) <= max(SPEED_LEAST, SPEED_OFF * float(true.norm()))


def every(verdicts: list[Verdict]) -> Verdict:
    """What holds of all, where something can be said of it."""
    found = {name: [v[name] for v in verdicts] for name in verdicts[0]}
    return {name: None if None in each else all(each) for name, each in found.items()}


def steps(clip: Tensor) -> Tensor:
    """Mean absolute difference between neighbouring frames."""
    return (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean((0, 1, 3, 4))


def correlation(a: Tensor, b: Tensor) -> float:
    """Of two tracks `[n, 2]`; 1 where neither moves."""
    a, b = a - a.mean(0), b - b.mean(0)
    if max(float(a.norm()), float(b.norm())) < 0.06 * len(a) ** 0.5:
        return 1.0
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-6))


def frames_of(clip: Tensor) -> Tensor:
    """A clip as the frames `[f, h, w, 3]` of a request, uint8."""
    return ((clip[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0)
