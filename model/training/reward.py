"""A reward model: which shape, colour, background and style it sees in latents.

A small convolutional network that reads the transformer's own latents, so that what it sees has a
gradient at next to no cost (`refl.py`). It is not the detector that scores a checkpoint: that one
looks at decoded frames and is never trained against.
"""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from model.training.geometry import FINE, overlap, true_mask
from model.training.learner import TINY, coloured
from model.training.log import Log
from model.training.pools import BUCKETS, new_pools
from model.training.scenes import BACKGROUNDS, COLOURS, SHAPES, STYLES, Scenes
from model.training.weights import read

OBJECT = {"shape": len(SHAPES), "colour": len(COLOURS)}
AROUND = {"background": len(BACKGROUNDS), "style": len(STYLES)}
#: Noise, and a wrong contrast, that it sees through: what a sampler has on its way is not clean.
NOISE, CONTRAST = 0.35, 0.25
#: Share of a frame that an object covers, below which nothing is asked of it.
SEEN = 0.02
BATCH = 48


class Reward(nn.Module):
    """Normalised latents `[b, c, t, h, w]` to logits of each attribute, `[b, t, classes]`."""

    def __init__(self, channels: int, width: int = 96, layers: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(layers)
        )
        self.mask = nn.Conv2d(width, FINE * FINE, 1)
        self.object = nn.Linear(width, sum(OBJECT.values()))
        self.around = nn.Linear(width, sum(AROUND.values()))

    def forward(self, latents: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The logits, and those of the object's mask, `[b, t, FINE h, FINE w]`."""
        b, _, t, h, w = latents.shape
        x = self.first(latents.transpose(1, 2).flatten(0, 1))
        for layer in self.layers:
            x = x + layer(x)
        where = F.pixel_shuffle(self.mask(x), FINE)
        inside = F.avg_pool2d(where.sigmoid(), FINE)
        inside = inside / inside.sum((2, 3), keepdim=True).clamp(min=1e-3)
        logits: dict[str, Tensor] = {}
        for head, classes, pooled in (
            (self.object, OBJECT, (x * inside).sum((2, 3))),
            (self.around, AROUND, x.mean((2, 3))),
        ):
            parts = head(pooled).view(b, t, -1).split(list(classes.values()), -1)
            logits |= dict(zip(classes, parts, strict=True))
        return logits, where.view(b, t, FINE * h, FINE * w)


def cross_entropies(logits: dict[str, Tensor], scenes: Scenes, seen: Tensor) -> dict[str, Tensor]:
    """Of logits `[b, t, classes]` against what the scenes are, `[b, t]`; objects where `seen`, and
    their colours in styles that have some.
    """
    counts = dict.fromkeys(logits, torch.ones_like(seen)) | {"shape": seen}
    counts["colour"] = seen * coloured(scenes.style)[:, None]
    out: dict[str, Tensor] = {}
    for name, scores in logits.items():
        target = getattr(scenes, name)[:, None].expand(-1, scores.shape[1])
        each = F.cross_entropy(scores.float().flatten(0, 1), target.flatten(), reduction="none")
        out[name] = each.view(target.shape) * counts[name]
    return out


def train(folder: Path, *, clips: int, minutes: float = 7.0, seed: int = 0) -> None:
    """Learn from the pool of a transformer's training folder; writes `reward.safetensors` there."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    if not (folder / "pool").exists():
        raise ValueError(f"{folder}/pool: no clips yet; run the transformer stage first")
    whole = new_pools(TINY.in_channels, clips, folder=folder / "pool", device="cpu")
    pools = [
        pool
        for pool, b in zip(whole, BUCKETS, strict=True)
        if not (b.detail or b.tail) and b.objects == 1 and pool.drawn
    ]
    shares = torch.tensor([pool.bucket.share for pool in pools])
    reward = Reward(TINY.in_channels)
    optimizer = torch.optim.AdamW(reward.parameters(), lr=2e-3, weight_decay=0.01)
    log = Log(folder / "reward.jsonl", f"reward {minutes:.0f} min")
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        pool = pools[int(torch.multinomial(shares, 1, generator=generator))]
        drawn = pool.sample(BATCH, generator)
        rows, b = torch.arange(len(drawn.scenes)), len(drawn.scenes)
        frame = torch.randint(drawn.latents.shape[2], (b,), generator=generator)
        frame = frame * (torch.rand(b, generator=generator) > 0.3)
        x = drawn.latents[rows, :, frame].float()[:, :, None]
        coverage = drawn.coverage[rows, frame]
        sigma = NOISE * torch.rand(b, 1, 1, 1, 1, generator=generator)
        contrast = 1 + CONTRAST * (2 * torch.rand(b, 1, 1, 1, 1, generator=generator) - 1)
        noise = torch.randn(x.shape, generator=generator)
        logits, where = reward(torch.lerp(x * contrast, noise, sigma))
        seen = (coverage.mean((1, 2)) > SEEN)[:, None].float()
        terms = {n: v.mean() for n, v in cross_entropies(logits, drawn.scenes, seen).items()}
        mask = true_mask(drawn.scenes, frame, *where.shape[2:])
        terms["mask"] = F.binary_cross_entropy_with_logits(where[:, 0], mask)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 50, 2 * (1 - done) + 0.01)
        optimizer.step()
        right = (logits["shape"][:, 0].argmax(1) == drawn.scenes.shape).float()
        right = (right * seen[:, 0]).sum() / seen.sum().clamp(min=1)
        same = overlap(where[:, 0].sigmoid().detach(), mask)[seen[:, 0] > 0].mean()
        values = {n: float(v.detach()) for n, v in terms.items()}
        log.step(step, done, **values, right=float(right), overlap=float(same))
        step += 1
    log.close()
    partial = folder / "reward.part"
    save_file(reward.state_dict(), partial)
    partial.replace(folder / "reward.safetensors")


def load(path: Path) -> Reward:
    """A frozen reward model from its file."""
    weights = read(path)
    reward = Reward(weights["first.weight"].shape[1])
    reward.load_state_dict(weights)
    return reward.eval().requires_grad_(requires_grad=False)
