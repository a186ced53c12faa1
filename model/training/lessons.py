"""What one step of the transformer's training is about: clips, given frames, noise levels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.schedule import shifted
from model.training.latents import BUCKETS, LONG, Bucket, Clips, Pool

# How a training clip is conditioned: number of clean latent frames at its beginning and end.
OPENINGS = (
    ((0, 0), 0.70), ((1, 0), 0.13), ((2, 0), 0.03), ((3, 0), 0.01), ((5, 0), 0.01),
    ((0, 1), 0.02), ((0, 2), 0.04), ((1, 1), 0.03), ((1, 2), 0.03),
)  # fmt: skip
CONTINUATIONS = (
    ((2, 0), 0.34), ((3, 0), 0.10), ((4, 0), 0.10), ((5, 0), 0.10), ((1, 0), 0.04),
    ((2, 1), 0.05), ((2, 2), 0.12), ((3, 2), 0.04), ((0, 2), 0.11),
)  # fmt: skip
DETAIL = (((0, 0), 0.6), ((2, 0), 0.4))
# The same of clips as long as a window, most of which go on from `window_overlap` latent frames.
LONG_OPENINGS = (
    ((0, 0), 0.62), ((1, 0), 0.12), ((3, 0), 0.03), ((5, 0), 0.10),
    ((0, 1), 0.02), ((0, 2), 0.05), ((1, 1), 0.03), ((1, 2), 0.03),
)  # fmt: skip
LONG_CONTINUATIONS = (
    ((4, 0), 0.50), ((2, 0), 0.05), ((3, 0), 0.06), ((5, 0), 0.08), ((6, 0), 0.04), ((8, 0), 0.04),
    ((10, 0), 0.04), ((12, 0), 0.04), ((4, 1), 0.03), ((4, 2), 0.06), ((0, 2), 0.06),
)  # fmt: skip
# At the beginning of clips that are led to their end.
LED = ((0, 0.05), (1, 0.30), (2, 0.15), (3, 0.35), (4, 0.15))
LONG_LED = ((0, 0.05), (1, 0.35), (2, 0.05), (3, 0.12), (4, 0.31), (5, 0.07), (6, 0.05))
# Latent frames of a clip that a step shows: stills, beginnings and whole clips. A shape is drawn
# once for all frames, and a step holds seven times as many stills as clips: most is learnt there.
LENGTHS = ((1, 0.40), (3, 0.18), (7, 0.42))
# How often a clip as long as a window is shown whole; else it loses some of its end, or, if it is
# led there, some of its beginning where it does not open.
WHOLE = 0.7
# How many latent frames a clip that does not open may lose at its beginning: then it begins, as
# the windows of a long video do, with a latent frame that stands for four frames.
CUT = 3
# Share of the lessons that go on from frames which the model made itself, as all windows of a long
# video but the first do, and between which noise levels it made them of true ones. It learns to
# draw what was asked for, whatever became of it.
OWN, OWN_NOISE = 0.4, (0.4, 0.9)
# How much more a latent frame next to a given one weighs: a step there is seen as a seam.
BESIDE_WEIGHT = 3.0
# Share of the clips of which nothing is said, for guidance without a classifier.
SILENT = 0.1
# How far half of the noise levels are bent towards 1, where what is seen is decided.
HIGH_SHIFT = 3.0
# Share of several objects' that are bent further: colours are dealt out before anything is seen.
EARLY, EARLY_SHIFT = 0.3, 8.0
# Windows of larger pictures teach only how detail is finished: noise levels up to this one.
DETAIL_NOISE = 0.55


@dataclass(frozen=True, slots=True)
class Lesson:
    """The clips of one step, which of their frames are clean, and the noise of the others."""

    clips: Clips
    clean: Tensor  # [b, t]
    level: Tensor  # [b], sigma of the noisy frames
    trace: Tensor  # [b], sigma of the clean ones, as the frames of an earlier window have some
    spoken: Tensor  # [b], whether anything is said
    opens: bool  # whether the clips are at their opening
    own: Tensor | None = None  # [b], sigma of which the model makes the frames that it goes on from


def draw_lesson(tokens: int, pools: list[Pool], generator: torch.Generator) -> Lesson:
    """Draw a step's clips, of about `tokens` tokens and as long as `LENGTHS` says."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def randint(stop: int) -> int:
        return int(torch.randint(stop, (), generator=generator))

    k = _choose([bucket.share for bucket in BUCKETS], generator)
    bucket, full = BUCKETS[k], BUCKETS[k].latent_size[0]
    long = bucket.frames == LONG
    t = full
    if not (bucket.detail or bucket.tail or long):
        t = LENGTHS[_choose([share for _, share in LENGTHS], generator)][0]
    per_frame = bucket.height * bucket.width // 1024
    goes_on = None
    if not (bucket.detail or not bucket.led):
        later = 0.5 if bucket.tail or long else 0.25 if t == full else 0
        goes_on = float(uniform(1)) < later
    clips = pools[k].sample(max(1, tokens // (per_frame * t)), generator, later=goes_on)
    start = randint(CUT + 1) if goes_on else 0
    if long and bucket.led and float(uniform(1)) >= WHOLE:
        if not bucket.tail:
            t -= randint(t // 2)
        elif goes_on:
            start = randint(t // 2 + 1)
    clips = clips.between(start, t)
    b = len(clips)
    clean = torch.zeros(b, 1, dtype=torch.bool)
    if t > 1:
        clean = draw_clean(b, t - start, bucket, generator, goes_on=bool(goes_on))
    level = uniform(b) * DETAIL_NOISE if bucket.detail else draw_level(b, generator)
    several = clips.labels["count"] > 1
    device = several.device
    early = (uniform(b) < EARLY) & (not bucket.detail)
    level = torch.where(
        several & early.to(device), shifted(uniform(b), EARLY_SHIFT).to(device), level.to(device)
    )
    own = None
    if goes_on and float(uniform(1)) < OWN:
        own = (OWN_NOISE[0] + (OWN_NOISE[1] - OWN_NOISE[0]) * uniform(b)).to(device)
    trace = 0.05 * uniform(b) * (uniform(b) < 0.5)
    spoken = uniform(b) >= SILENT
    opens = goes_on is False
    return Lesson(clips, clean.to(device), level, trace.to(device), spoken.to(device), opens, own)


def draw_clean(
    count: int, t: int, bucket: Bucket, generator: torch.Generator, *, goes_on: bool
) -> Tensor:
    """Which latent frames are given, `[count, t]`; clips that do not open always get some."""
    long = bucket.frames == LONG
    heads = (LONG_LED if long else LED) if bucket.led else ((0, 1.0),)
    table = tuple(((head, bucket.tail), share) for head, share in heads)
    if bucket.detail:
        table = DETAIL
    elif not bucket.tail and goes_on:
        table = LONG_CONTINUATIONS if long else CONTINUATIONS
    elif not bucket.tail:
        table = LONG_OPENINGS if long else OPENINGS
    shares = torch.tensor([share for _, share in table])
    rows = torch.multinomial(shares, count, replacement=True, generator=generator)
    head, tail = torch.tensor([ends for ends, _ in table])[rows, :, None].unbind(1)
    number = torch.arange(t)
    return (number < torch.minimum(head, t - tail - 1)) | (number >= t - tail)


def draw_level(count: int, generator: torch.Generator) -> Tensor:
    """Noise levels sigma `[count]`: half of them high, half logit-normal.

    A flat background shows through noise that hides everything else: at sigma 0.95 it can be read
    off the input, and only above that does the prompt decide. So half of the levels are uniform
    ones bent towards 1 (Esser et al. 2024, arXiv:2403.03206, eq. 23), and some are 1 itself, where
    every sample begins.
    """
    uniform = torch.rand(count, generator=generator)
    high = shifted(uniform, HIGH_SHIFT)
    normal = (torch.randn(count, generator=generator) * 1.2 + 0.3).sigmoid()
    kind = torch.rand(count, generator=generator)
    return torch.where(kind < 0.05, 1.0, torch.where(kind < 0.55, high, normal))


def beside(clean: Tensor) -> Tensor:
    """Which latent frames are next to given ones, `[b, t]`: a step there is a seam."""
    return (F.max_pool1d(clean.float()[:, None], 3, stride=1, padding=1)[:, 0] > 0) & ~clean


def _choose(shares: list[float], generator: torch.Generator) -> int:
    return int(torch.multinomial(torch.tensor(shares), 1, generator=generator))
