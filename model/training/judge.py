"""Who judges clips: a checkpoint that makes them, and the detector that looks at them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model import Pipeline, Request
from model.training import pairs
from model.training.cases import FPS, Case, right
from model.training.detector import Detector
from model.training.scenes import Scenes
from model.vae import VAE

#: Frames over which a velocity is read; the detector looks at each.
SPAN = 13
#: How far a velocity may be off: a share of the true one, or so many half heights a second.
SPEED_OFF, SPEED_LEAST = 0.35, 0.15

# Numbers are averaged, the rest counted; None says nothing.
Verdict = dict[str, bool | float | None]


@dataclass(frozen=True, slots=True)
class Judge:
    """A checkpoint and who looks at what it makes."""

    pipeline: Pipeline
    detector: Detector
    vae: VAE

    def make(self, asked: Case, **fields: object) -> Tensor:
        """The clip `[1, 3, f, h, w]` in [-1, 1] of a case, with more fields of its request."""
        common = {"width": asked.width, "height": asked.height, "seed": asked.seed}
        request = Request(**({"prompt": asked.prompt} | common | fields))  # type: ignore[arg-type]
        clip = torch.cat(list(self.pipeline.generate(request)))
        return clip.permute(3, 0, 1, 2)[None].float() / 127.5 - 1

    @torch.no_grad()
    def after(self, clip: Tensor) -> Tensor:
        """A clip after the autoencoder."""
        return self.vae.decode(self.vae.encode(clip)).clamp(-1, 1)

    def sees(self, clip: Tensor, scene: Scenes, *names: str) -> Verdict:
        """Which of these attributes are right."""
        found = right(self.detector.look(clip), scene)
        return {name: found[name] for name in names}

    def sees_two(self, clip: Tensor, pair: tuple[Scenes, Scenes], *names: str) -> Verdict:
        """Which attributes are right of both objects, each looked at in its half of the picture."""
        around = self.sees(clip, pair[0], "background", "style")
        halves = clip.chunk(2, dim=4 if pairs.side_by_side(*pair) else 3)
        each = [self.sees(half, scene, *names) for half, scene in zip(halves, pair, strict=True)]
        both = {name: [verdict[name] for verdict in each] for name in names}
        return {n: None if None in found else all(found) for n, found in both.items()} | around

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


def correlation(a: Tensor, b: Tensor) -> float:
    """Of two tracks `[n, 2]`; 1 where neither moves."""
    a, b = a - a.mean(0), b - b.mean(0)
    if max(float(a.norm()), float(b.norm())) < 0.15:
        return 1.0
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-6))
