"""The upsampler's training: what a finished checkpoint makes of a scene, and the scene up close.

Small clips pass through the checkpoint's autoencoder, most of them also under noise, from which its
transformer makes them again: so they have the faults of what it makes, and are still where the
truth is, which the renderer draws at any size.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import load_upsampler
from model.memory import compute_dtype
from model.training import (
    cases,
    checkpoints,
    footage,
    pairs,
    reading,
    rendering,
    scenes,
    trajectories,
)
from model.training.course import Course, rate
from model.training.learner import Learner, remade, take_weights, to_compute
from model.training.optim import Weights
from model.training.rendering import Window
from model.training.weights import load_vae
from model.upsampler import FACTOR, Upsampler, UpsamplerConfig

#: Sizes of the small clips: those that the transformer learnt, and as large clips are begun.
SIZES = ((160, 256), (192, 192), (256, 160), (160, 288), (288, 160), (128, 256))  # height, width
#: Frames of a small clip at 16 a second; one in so many is a still.
FRAMES, STILL = 17, 16
#: Noise at most that is added to latents, as much as lets frames differ as those of clips that are
#: made from noise alone do.
UNSTEADY = 0.15
#: Share of the scenes with two objects; of clips that the transformer makes again, and from how
#: much noise at most: more of it changes what is seen.
PAIRED, REMADE, NOISE = 0.35, 0.75, 0.55
#: Share of the scenes at some moment after their opening.
LATER = 0.3
#: Pixels of a small picture that a patch has a side, those of its edge that count for nothing, and
#: patches of a clip. Of so many places that where most is to be seen is taken.
PATCH, EDGE, PATCHES, PLACES = 48, 6, 8, 3
#: Patches that are kept, of which those of a step are drawn, and steps for each clip that is made.
STOCK, BATCH, STEPS_A_CLIP = 2400, 6, 2
#: Frames of each patch that are enlarged: what changes from one to the other counts, too.
SHOWN = 2


#: Draws moments (s) of one scene at a size, or of a window of it: `[1, 3, f, h, w]` in [-1, 1].
Draw = Callable[[Tensor, int, int, Window | None], Tensor]


@dataclass(frozen=True, slots=True)
class UpsamplerRun:
    """What one run of the stage does; `minutes` bounds it and shapes its learning rate."""

    folder: Path
    checkpoint: Path  # whose clips are to be enlarged
    minutes: float = 45.0
    lr: float = 2e-3
    seed: int = 0
    device: str = "cpu"  # the network's; scenes are drawn, and made small, on the CPU


class Maker:
    """Makes patches of small pictures, as a checkpoint gives them, and of the same large ones."""

    def __init__(self, checkpoint: Path, past: int) -> None:
        self.past = past  # frames that the network sees before the one it enlarges
        dtype = compute_dtype("cpu")
        self.vae = load_vae(checkpoint).to(dtype).requires_grad_(requires_grad=False)
        self.learner = Learner().eval().requires_grad_(requires_grad=False)
        take_weights(self.learner, checkpoint)
        to_compute(self.learner, dtype)
        self.tokenizer = reading.plain_tokenizer(checkpoint)

    def patches(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Those of one clip, uint8: small `[n, f, 3, PATCH, PATCH]`; large, without their edges.

        Of small ones SHOWN frames and the `past` before them, of large ones those that are shown.
        """
        height, width = SIZES[_below(len(SIZES), generator)]
        captions, draw = scene_of(width / height, generator)
        frames = 1 if _below(STILL, generator) == 0 else FRAMES
        moments = torch.arange(frames) / cases.FPS
        true = draw(moments, height, width, None)
        seen = footage.bytes_of(self.made(true, captions, generator))[0].transpose(0, 1)
        small, large = [], []
        inner = (PATCH - 2 * EDGE) * FACTOR
        for _ in range(PATCHES):
            last = _below(frames, generator)
            top, left = _place(true[0, :, last], generator)
            known = torch.arange(last + 1 - self.past - SHOWN, last + 1).clamp(min=0)
            small.append(seen[known, :, top : top + PATCH, left : left + PATCH])
            corner = [torch.tensor([FACTOR * (side + EDGE)]) for side in (top, left)]
            window = (corner[0], corner[1], inner, inner)
            drawn = draw(moments[known[-SHOWN:]], FACTOR * height, FACTOR * width, window)
            large.append(footage.bytes_of(drawn)[0].transpose(0, 1))
        return torch.stack(small), torch.stack(large)

    @torch.no_grad()
    def made(self, clip: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """A clip in [-1, 1] after the autoencoder, and mostly the transformer."""
        latents = self.vae.normalize(self.vae.encode(clip.to(next(self.vae.parameters()).dtype)))
        latents = latents.float()
        if _uniform(generator) < REMADE:
            level = NOISE * _uniform(generator) * _uniform(generator) ** 0.5
            noise = torch.randn(latents.shape, generator=generator)
            text = self.learner.read(reading.read(self.tokenizer, captions).long())
            latents = remade(self.learner, latents, noise, text, torch.tensor([level]))
            noise = torch.randn(latents.shape, generator=generator)
            latents = latents + UNSTEADY * _uniform(generator) * noise
        return self.vae.decode(self.vae.denormalize(latents)).float()


def scene_of(aspect: float, generator: torch.Generator) -> tuple[list[str], Draw]:
    """A scene of one object or two: its caption, and what draws it."""
    if _uniform(generator) < PAIRED:
        pair = pairs.sample(1, generator, aspect=aspect, later=LATER)

        def draw_pair(seconds: Tensor, height: int, width: int, window: Window | None) -> Tensor:
            size = (len(seconds), height, width)
            return pairs.render(pair, *size, seconds=seconds, window=window)[0]

        return footage.say(pair, generator), draw_pair
    scene = scenes.sample(1, generator, aspect=aspect, later=LATER)

    def draw(seconds: Tensor, height: int, width: int, window: Window | None) -> Tensor:
        path = trajectories.track(scene, seconds, trajectories.OPENING_S, aspect)
        size = (len(seconds), height, width)
        return rendering.render(scene, *size, seconds=seconds, window=window, path=path)[0]

    return footage.say((scene,), generator), draw


def loss_of(upsampler: Upsampler, small: Tensor, large: Tensor) -> dict[str, Tensor]:
    """Mean absolute error of patches in [-1, 1] against what they show up close, and of changes.

    `small` are `[b, past + SHOWN, 3, p, p]`, `large` `[b, SHOWN, 3, P, P]`, in the order of time.
    Beside it the error of pictures that are merely interpolated.
    """
    edge, count = FACTOR * EDGE, small.shape[1] - SHOWN + 1
    windows = small.unfold(1, count, 1).permute(0, 1, 5, 2, 3, 4).flip(2)  # the latest first
    wanted = large.flatten(0, 1)

    def inner(pictures: Tensor) -> Tensor:
        return pictures.float()[..., edge:-edge, edge:-edge]

    frames = windows.flatten(0, 1).to(upsampler.conv_in.weight.dtype)
    errors = inner(upsampler(frames)) - wanted
    changes = errors.unflatten(0, large.shape[:2]).diff(dim=1)
    plain = F.interpolate(small[:, -SHOWN:].flatten(0, 1), scale_factor=FACTOR, mode="bilinear")
    error, change = errors.abs().mean(), changes.abs().mean()
    return {
        "loss": error + change,
        "error": error.detach(),
        "change": change.detach(),
        "interpolated": (inner(plain) - wanted).abs().mean(),
    }


def train(run: UpsamplerRun) -> None:
    """Train until `run.minutes` are over; goes on from the last checkpoint in `run.folder`.

    The first begins with the upsampler that `run.checkpoint` has, if any.
    """
    torch.manual_seed(run.seed)
    upsampler = Upsampler(UpsamplerConfig())
    if (run.checkpoint / "upsampler").is_dir():
        known = load_upsampler(run.checkpoint / "upsampler", upsampler.config)
        upsampler.load_state_dict(known.state_dict())
    upsampler.to(run.device)
    maker = Maker(run.checkpoint, upsampler.config.past_frames)
    weights = Weights(upsampler, lr=run.lr)
    upsampler.to(compute_dtype(run.device))
    course = Course(run.folder, "upsampler", run.minutes)
    if course.found is not None:
        weights.restore(course.found)
    stock: list[tuple[Tensor, Tensor]] = []
    for done, log in course.steps(weights.state):
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + weights.steps)
        if weights.steps % STEPS_A_CLIP == 0 or not stock:
            stock = [*stock[PATCHES - STOCK :], *zip(*maker.patches(generator), strict=True)]
        pick = torch.randint(len(stock), (BATCH,), generator=generator).tolist()
        small, large = (
            torch.stack([stock[i][side] for i in pick]).to(run.device).float().div_(127.5).sub_(1)
            for side in (0, 1)
        )
        terms = loss_of(upsampler, small, large)
        terms["loss"].backward()
        norm = float(weights.step(rate(weights.steps, done)))
        values = {k: float(v.detach()) for k, v in terms.items()}
        log.step(weights.steps, done, **values, norm=norm)


def export(folder: Path, target: Path) -> None:
    """Write the moving average of a stage's weights as `target`/upsampler, in float16."""
    found = checkpoints.load(folder / "state")
    if found is None:
        raise ValueError(f"{folder}: no upsampler checkpoint; run the upsampler stage first")
    config = UpsamplerConfig()
    state = {
        name: found[0][f"average/{name}"].view(value.shape).half()
        for name, value in Upsampler(config).state_dict().items()
    }
    (target / "upsampler").mkdir(parents=True, exist_ok=True)
    described = json.dumps(asdict(config) | {"_class_name": "Upsampler"}, indent=2)
    (target / "upsampler" / "config.json").write_text(described + "\n")
    file = target / "upsampler" / "diffusion_pytorch_model.safetensors"
    save_file(state, file, metadata={"format": "pt"})


def _place(picture: Tensor, generator: torch.Generator) -> tuple[int, int]:
    """Top and left of a patch of `picture` `[3, h, w]` that shows something, most likely."""
    found, most = (0, 0), -1.0
    for _ in range(PLACES):
        top, left = (_below(side - PATCH + 1, generator) for side in picture.shape[1:])
        patch = picture[:, top + EDGE : top + PATCH - EDGE, left + EDGE : left + PATCH - EDGE]
        shown = float(patch.diff(dim=1).abs().mean() + patch.diff(dim=2).abs().mean())
        if shown > most:
            found, most = (top, left), shown
    return found


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
