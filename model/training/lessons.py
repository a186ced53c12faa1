"""What one step of the transformer's training is about: clips, given frames, noise levels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.schedule import shifted
from model.training.footage import LATER
from model.training.pools import BUCKETS, LONG, Bucket, Clips, Pool

# How a training clip is conditioned: number of clean latent frames at its beginning and end.
OPENINGS = (
    ((0, 0), 0.68), ((1, 0), 0.13), ((2, 0), 0.03), ((3, 0), 0.01), ((5, 0), 0.01),
    ((0, 1), 0.03), ((0, 2), 0.05), ((1, 1), 0.03), ((1, 2), 0.03),
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
# The same of two objects: many go on from given frames, to come out again from behind each other.
PAIR_LONG_OPENINGS = (
    ((0, 0), 0.48), ((1, 0), 0.12), ((3, 0), 0.03), ((4, 0), 0.09), ((5, 0), 0.07), ((6, 0), 0.06),
    ((7, 0), 0.07), ((8, 0), 0.04), ((1, 1), 0.02), ((1, 2), 0.02),
)  # fmt: skip
LONG_CONTINUATIONS = (
    ((4, 0), 0.50), ((2, 0), 0.05), ((3, 0), 0.06), ((5, 0), 0.08), ((6, 0), 0.04), ((8, 0), 0.04),
    ((10, 0), 0.04), ((12, 0), 0.04), ((4, 1), 0.03), ((4, 2), 0.06), ((0, 2), 0.06),
)  # fmt: skip
# At the beginning of clips that are led to their end.
LED = ((0, 0.05), (1, 0.30), (2, 0.15), (3, 0.35), (4, 0.15))
LONG_LED = ((0, 0.05), (1, 0.35), (2, 0.05), (3, 0.12), (4, 0.31), (5, 0.07), (6, 0.05))
# Latent frames of a clip of 25 frames that a step shows: its beginning or all of it. Stills have
# buckets of their own: a shape is drawn once for all frames, and a step holds seven times as many
# stills as clips.
LENGTHS = ((3, 0.25), (7, 0.75))
#: Frames of the clips that most of training shows.
SHORT = 25
# How often a clip as long as a window is shown whole; else it loses some of its end, or, if it is
# led there, some of its beginning where it does not open.
WHOLE = 0.7
# How often a drawn clip of a shape is kept: what is harder to draw is shown more often.
ODDS = {"ball": 0.6, "square": 0.6, "triangle": 0.7, "heart": 0.7, "moon": 0.8, "diamond": 0.8}
# How many latent frames a clip that does not open may lose at its beginning: then it begins, as
# the windows of a long video do, with a latent frame that stands for four frames.
CUT = 3
# Share of the lessons that go on from frames which the model made itself, as all windows of a long
# video but the first do, and between which noise levels it made them of true ones. It learns to
# draw what was asked for, whatever became of it.
OWN, OWN_NOISE = 0.4, (0.4, 0.9)
# How often a clip that was drawn wrong as well is shown so, to be mended, and at which noise
# levels: above them nothing is wrong yet, below them it is too late.
BENT, BENT_NOISE = 0.5, (0.35, 0.9)
# How much more a latent frame next to a given one weighs: a step there is seen as a seam.
BESIDE_WEIGHT = 3.0
# Share of the clips of which nothing is said, for guidance without a classifier.
SILENT = 0.1
# Share of the sampler's clips, among those that a reward model is shown, that go on.
GOING_ON = 0.3
# How far half of the noise levels are bent towards 1.
HIGH_SHIFT = 3.0
# Share of two objects' that are bent further: colours are dealt out before anything is seen.
PAIR_EARLY, PAIR_SHIFT = 0.3, 8.0
# Windows of larger pictures teach only how detail is finished: noise levels up to this one.
DETAIL_NOISE = 0.55


def draw_clean(clips: Clips, generator: torch.Generator, bucket: Bucket) -> Tensor:
    """Which latent frames are given, `[b, t]`, all clips alike; clips that do not open always get
    some.
    """
    b, t = clips.latents.shape[0], clips.latents.shape[2]
    long = bucket.frames == LONG
    heads = (LONG_LED if long else LED) if bucket.led else ((0, 1.0),)
    led = tuple(((head, bucket.tail), share) for head, share in heads)
    openings = LONG_OPENINGS if long else OPENINGS
    openings = PAIR_LONG_OPENINGS if long and bucket.objects == 2 else openings
    continuations = LONG_CONTINUATIONS if long else CONTINUATIONS
    frame = torch.arange(t)

    def drawn(table: tuple[tuple[tuple[int, int], float], ...]) -> Tensor:
        shares = torch.tensor([share for _, share in table])
        pick = torch.multinomial(shares, b, replacement=True, generator=generator)
        ends = torch.tensor([ends for ends, _ in table])[pick]
        head, tail = torch.minimum(ends[:, :1], t - ends[:, 1:] - 1), ends[:, 1:]
        return (frame < head) | (frame >= t - tail)

    if bucket.detail or bucket.tail:
        return drawn(DETAIL if bucket.detail else led)
    goes_on = clips.later[:, None]
    return torch.where(goes_on, drawn(continuations), drawn(openings))


@dataclass(frozen=True, slots=True)
class Lesson:
    """The clips of one step, which of their frames are clean, and the noise of the others. All but
    the clips are tensors of the host.
    """

    clips: Clips
    spoken: Tensor  # [b], of which clips something is said
    clean: Tensor  # [b, t]
    level: Tensor  # [b], sigma of the noisy frames
    bent: Tensor  # [b], which clips are under their noise as they were drawn wrong
    own: Tensor | None = None  # [b], sigma of which the model makes the frames that it goes on from


def draw_lesson(tokens: int, pools: list[Pool], generator: torch.Generator) -> Lesson:
    """Draw a step's clips, of about `tokens` tokens and as long as `LENGTHS` says."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def randint(stop: int) -> int:
        return int(torch.randint(stop, (), generator=generator))

    def choose(shares: list[float]) -> int:
        return int(torch.multinomial(torch.tensor(shares), 1, generator=generator))

    k = choose([bucket.share for bucket in BUCKETS])
    bucket, full = BUCKETS[k], BUCKETS[k].latent_size[0]
    long = bucket.frames == LONG
    t = full
    if bucket.frames == SHORT and bucket.whole:
        t = draw_length(generator)
    later = 0.5 if bucket.tail or long else LATER if t == full > 1 else 0
    free = bucket.detail or not bucket.led
    opening = None if free else float(uniform(1)) >= later
    per_frame = bucket.height * bucket.width // 1024
    clips = pools[k].sample(
        max(1, tokens // (per_frame * t)), generator, opening=opening, odds=ODDS
    )
    goes_on = opening is False and bool(clips.later.all())
    start = randint(CUT + 1) if goes_on else 0
    if long and bucket.led and float(uniform(1)) >= WHOLE:
        if not bucket.tail:
            t -= randint(t // 2)
        elif goes_on:
            start = randint(t // 2 + 1)
    clips = clips.between(start, t)
    clean = torch.zeros(len(clips.scenes), 1, dtype=torch.bool)
    if t > 1:
        clean = draw_clean(clips, generator, bucket)
    b = len(clips.scenes)
    spoken = uniform(b) >= SILENT
    level = uniform(b) * DETAIL_NOISE if bucket.detail else draw_level(b, generator)
    if bucket.objects == 2:
        early = shifted(uniform(b), PAIR_SHIFT)
        level = torch.where(uniform(b) < PAIR_EARLY, early, level)
    own = None
    if goes_on and float(uniform(1)) < OWN:
        own = OWN_NOISE[0] + (OWN_NOISE[1] - OWN_NOISE[0]) * uniform(b)
    low, high = BENT_NOISE
    bent = clips.wrong & (uniform(b) < BENT) & (low <= level) & (level <= high)
    return Lesson(clips, spoken, clean, level, bent, own)


def draw_wishes(tokens: int, pools: list[Pool], generator: torch.Generator) -> Lesson:
    """Clips whose prompts the sampler is to follow: a quarter of a step's tokens, since each takes
    several of its steps. Most are openings made from nothing, and most of those stills; `GOING_ON`
    of them go on from given frames.
    """

    def choose(shares: list[float]) -> int:
        return int(torch.multinomial(torch.tensor(shares), 1, generator=generator))

    goes_on = bool(torch.rand((), generator=generator) < GOING_ON)
    kinds = [
        k
        for k, b in enumerate(BUCKETS)
        if not b.detail
        and (b.frames > 1 if goes_on else not b.tail)
        and (b.objects == 1 or (b.frames != LONG and not goes_on))
    ]
    k = kinds[choose([BUCKETS[k].share for k in kinds])]
    bucket, t = BUCKETS[k], BUCKETS[k].latent_size[0]
    if bucket.frames == SHORT and not goes_on:
        t = draw_length(generator)
    count = max(1, tokens // (4 * bucket.height * bucket.width // 1024 * t))
    clips = pools[k].sample(count, generator, opening=not goes_on, odds=ODDS)
    clips = clips.between(0, t)
    b = len(clips.scenes)
    clean, own = torch.zeros(b, t, dtype=torch.bool), None
    if goes_on:
        clean = draw_clean(clips, generator, bucket)
        own = OWN_NOISE[0] + (OWN_NOISE[1] - OWN_NOISE[0]) * torch.rand(b, generator=generator)
    said, none = torch.ones(b, dtype=torch.bool), torch.zeros(b, dtype=torch.bool)
    return Lesson(clips, said, clean, torch.ones(b), none, own)


def draw_length(generator: torch.Generator) -> int:
    """How many latent frames of clips of 25 frames a step shows."""
    shares = torch.tensor([share for _, share in LENGTHS])
    return LENGTHS[int(torch.multinomial(shares, 1, generator=generator))][0]


def beside(clean: Tensor) -> Tensor:
    """Which latent frames are next to given ones, `[b, t]`: a step there is a seam."""
    return (F.max_pool1d(clean.float()[:, None], 3, stride=1, padding=1)[:, 0] > 0) & ~clean


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
