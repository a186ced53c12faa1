"""Our frames against those of diffusers' pipelines: same folder, same noise, same request."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from model import Pipeline, Request
from model.schedule import ScheduleConfig
from model.shards import read_json

pytestmark = pytest.mark.parity

WEIGHTS = Path(__file__).parents[2] / "model" / "weights"
LEAST_PSNR_DB = 55.0
FURTHEST = 2  # of 255
LEAST_SPREAD = 20.0  # standard deviation of the frames; flat grey would prove nothing

PROMPT = "  A red <ball> &amp;amp; two   green stars\trise…  “blurry”"
NEGATIVE = "ugly, low quality, the blue square"


@dataclass(frozen=True)
class Case:
    family: str
    width: int
    height: int
    frames: int
    steps: int = 3
    guidance: float = 5.0
    given: tuple[str, ...] = ()
    negative_prompt: str = ""
    solver: str | None = None
    more: dict = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        parts = [self.family, f"{self.width}x{self.height}", f"{self.frames}f", f"{self.steps}st"]
        parts += [f"g{self.guidance:g}", *self.given, self.solver or "", *self.more]
        return " ".join(filter(None, [*parts, "neg" if self.negative_prompt else ""]))


CASES = [
    # Wan 2.1 text to video: lengths, aspects, both solvers, with and without guidance
    Case("2.1-t2v", 48, 32, 1, guidance=1.0),
    Case("2.1-t2v", 32, 48, 5, guidance=1.0),
    Case("2.1-t2v", 64, 32, 9, steps=5, negative_prompt=NEGATIVE),
    Case("2.1-t2v", 48, 64, 13),
    Case("2.1-t2v", 32, 32, 5, steps=1),
    Case("2.1-t2v", 48, 32, 1, solver="euler", negative_prompt=NEGATIVE),
    Case("2.1-t2v", 32, 64, 9, steps=5, solver="euler", guidance=1.0),
    # Wan 2.1 image to video: condition channels and CLIP
    Case("2.1-i2v", 48, 32, 1, given=("image",)),
    Case("2.1-i2v", 32, 48, 5, given=("image",), guidance=1.0),
    Case("2.1-i2v", 64, 32, 13, given=("image",), negative_prompt=NEGATIVE),
    Case("2.1-i2v", 32, 48, 9, given=("image",), solver="euler"),
    # First and last frame
    Case("2.1-flf2v", 48, 32, 5, given=("image", "last_image"), guidance=1.0),
    Case("2.1-flf2v", 32, 64, 13, given=("image", "last_image"), negative_prompt=NEGATIVE),
    Case("2.1-flf2v", 48, 32, 9, given=("image", "last_image"), solver="unipc"),
    # Wan 2.2 A14B: two experts, each with its guidance
    Case("2.2-t2v-a14b", 48, 32, 1, steps=5, guidance=4.0, more={"guidance_2": 3.0}),
    Case("2.2-t2v-a14b", 32, 48, 9, steps=5, guidance=4.0, negative_prompt=NEGATIVE),
    Case("2.2-t2v-a14b", 48, 32, 5, steps=5, guidance=1.0, solver="unipc"),
    Case("2.2-i2v-a14b", 48, 32, 5, steps=5, guidance=3.5, given=("image",)),
    Case("2.2-i2v-a14b", 32, 48, 13, given=("image",), more={"guidance_2": 2.0}),
    Case("2.2-i2v-a14b", 64, 32, 9, given=("image", "last_image"), negative_prompt=NEGATIVE),
    # Wan 2.2 TI2V: per-frame timesteps, the 4x16x16 VAE, a picture optional
    Case("2.2-ti2v", 64, 32, 1, guidance=1.0),
    Case("2.2-ti2v", 32, 64, 5, negative_prompt=NEGATIVE),
    Case("2.2-ti2v", 96, 64, 13),
    Case("2.2-ti2v", 64, 32, 9, solver="euler"),
    Case("2.2-ti2v", 32, 64, 5, given=("image",), guidance=1.0),
    Case("2.2-ti2v", 96, 64, 9, given=("image",), steps=5, negative_prompt=NEGATIVE),
    Case("2.2-ti2v", 64, 32, 13, given=("image",), solver="euler"),
]


@lru_cache(maxsize=2)
def ours(folder: Path) -> Pipeline:
    return Pipeline.load(folder)


@lru_cache(maxsize=2)
def theirs(folder: Path):
    # Said outright, or transformers keeps half-precision text encoders as they are stored.
    loaded = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def reference_pipeline(folder: Path, kind: type):
    """diffusers' pipeline on `folder`; the weights of TI2V serve its other pipelines as well."""
    loaded = theirs(folder)
    if isinstance(loaded, kind):
        return loaded
    parts = {k: v for k, v in loaded.components.items() if v is not None}
    if kind is diffusers.WanImageToVideoPipeline:
        parts["expand_timesteps"] = loaded.config.expand_timesteps
    else:
        parts.pop("transformer_2", None)
    other = kind(**parts)
    other.set_progress_bar_config(disable=True)
    return other


def picture(width: int, height: int, seed: int) -> Image.Image:
    """A picture of another size than the clip, so that it has to be resized."""
    values = np.random.default_rng(seed).random((height // 4 + 3, width // 4 + 1, 3)) * 255
    small = Image.fromarray(values.astype(np.uint8))
    return small.resize((width + 17, height + 9), Image.Resampling.BICUBIC)


def noise_for(folder: Path, case: Case) -> torch.Tensor:
    vae = theirs(folder).vae.config
    space = vae.scale_factor_spatial
    shape = (1, vae.z_dim, (case.frames - 1) // 4 + 1, case.height // space, case.width // space)
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def folder_shift(folder: Path) -> float:
    """The shift that diffusers takes: `kinora.json` may name another, which it does not read."""
    return ScheduleConfig.from_json(read_json(folder / "scheduler/scheduler_config.json")).shift


def compare(case, actual: torch.Tensor, expected: np.ndarray, record) -> None:
    expected = torch.from_numpy(np.rint(expected * 255)).to(torch.int64)
    assert tuple(expected.shape) == tuple(actual.shape)
    difference = (actual.long() - expected).abs()
    error = difference.double().square().mean()
    psnr = 999.0 if error == 0 else (20 * np.log10(255) - 10 * torch.log10(error)).item()
    furthest, spread = int(difference.max()), expected.double().std().item()
    record(str(case), psnr, furthest, spread)
    assert spread >= LEAST_SPREAD
    assert psnr >= LEAST_PSNR_DB
    assert furthest <= FURTHEST


@pytest.mark.parametrize("case", CASES, ids=str)
def test_frames_are_those_of_diffusers(case, checkpoint, record):
    folder = checkpoint(case.family, case.solver)
    given = {name: picture(case.width, case.height, i) for i, name in enumerate(case.given)}
    noise = noise_for(folder, case)
    kind = diffusers.WanImageToVideoPipeline if given else diffusers.WanPipeline
    reference = reference_pipeline(folder, kind)
    second = case.more.get("guidance_2")
    expected = reference(
        prompt=PROMPT,
        negative_prompt=case.negative_prompt,
        width=case.width,
        height=case.height,
        num_frames=case.frames,
        num_inference_steps=case.steps,
        guidance_scale=case.guidance,
        latents=noise.clone(),
        **given,
        **({} if second is None else {"guidance_scale_2": second}),
    ).frames[0]
    request = Request(
        prompt=PROMPT,
        negative_prompt=case.negative_prompt,
        width=case.width,
        height=case.height,
        frames=case.frames,
        steps=case.steps,
        guidance=case.guidance,
        **given,
        **case.more,
    )
    actual = torch.cat(list(ours(folder).generate(request, noise=noise)))
    compare(case, actual, expected, record)


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_an_edit_is_that_of_diffusers(strength, solver, checkpoint, record):
    folder = checkpoint("2.1-t2v", solver)
    case = Case("2.1-t2v", 48, 32, 5, steps=4, solver=solver, more={f"strength {strength}": ""})
    video = [picture(48, 32, seed).resize((48, 32)) for seed in range(5)]
    expected = reference_pipeline(folder, diffusers.WanVideoToVideoPipeline)(
        video=video,
        prompt=PROMPT,
        width=48,
        height=32,
        num_inference_steps=case.steps,
        strength=strength,
        generator=torch.Generator().manual_seed(7),
    ).frames[0]
    frames = torch.from_numpy(np.stack([np.asarray(frame) for frame in video]))
    request = Request(prompt=PROMPT, video=frames, steps=4, strength=strength, guidance=5.0)
    actual = torch.cat(list(ours(folder).generate(request, noise=noise_for(folder, case))))
    compare(case, actual, expected, record)


@pytest.mark.parametrize(
    "folder", sorted(WEIGHTS.glob("*/model_index.json")), ids=lambda p: p.parent.name
)
@pytest.mark.parametrize("with_image", [False, True], ids=["text", "image"])
def test_shipped_weights_give_diffusers_frames(folder, with_image, record):
    pipeline = ours(folder.parent)
    tokens = pipeline.config.text_length
    width, height = (2 * pipeline.capabilities.grid * n for n in (3, 2))
    case = Case(folder.parent.name, width, height, 9, steps=4, given=("image",) * with_image)
    given = {name: picture(width, height, 1) for name in case.given}
    noise = noise_for(folder.parent, case)
    kind = diffusers.WanImageToVideoPipeline if given else diffusers.WanPipeline
    expected = reference_pipeline(folder.parent, kind)(
        prompt="a red ball rolls to the left on the grass",
        width=width,
        height=height,
        num_frames=case.frames,
        num_inference_steps=case.steps,
        guidance_scale=case.guidance,
        latents=noise.clone(),
        max_sequence_length=tokens,
        **given,
    ).frames[0]
    request = Request(
        prompt="a red ball rolls to the left on the grass",
        width=width,
        height=height,
        frames=case.frames,
        steps=case.steps,
        guidance=case.guidance,
        flow_shift=folder_shift(folder.parent),
        **given,
    )
    compare(case, torch.cat(list(pipeline.generate(request, noise=noise))), expected, record)
