"""Kinora and diffusers side by side: the same checkpoint, prompt, noise and process.

Without --checkpoint a random one of kinora-tiny's shape is written to a temporary folder; speed
does not depend on what weights have learned. The two take turns, and the table shows the median
of each stage. How far apart their clips are is printed below it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import diffusers
import torch
import transformers
from torch import Tensor

from model import Pipeline, Request
from model.training import language
from model.training.learner import TEXT_DIM, TINY
from model.training.train_vae import TINY_VAE

STAGES = ("text", "denoise", "decode")
PROMPT = "a red ball moves right over the sea"

#: Renders the clip once: frames (uint8 [f, h, w, 3]) after telling the clock of each piece of work.
Render = Callable[["Clock"], Tensor]


class Clock:
    """Seconds since the last piece of work, added up by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def ended(self, stage: str) -> None:
        """The time since the last call belonged to `stage`."""
        now = time.perf_counter()
        self.seconds[stage] += now - self._last
        self._last = now


def write_random_checkpoint(folder: Path) -> None:
    """A checkpoint of kinora-tiny's shape, written by diffusers."""
    torch.manual_seed(0)
    language.build_tokenizer(folder)
    # Through JSON, since diffusers takes lists where our records have tuples.
    vae, transformer = (json.loads(json.dumps(asdict(tiny))) for tiny in (TINY_VAE, TINY))
    diffusers.WanPipeline(
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder=language.new_text_encoder(TEXT_DIM),
        vae=diffusers.AutoencoderKLWan(**vae),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=diffusers.WanTransformer3DModel(**transformer),
        expand_timesteps=True,
    ).save_pretrained(folder)
    own = {"model_id": "random", "max_sequence_length": language.MAX_LENGTH}
    (folder / "kinora.json").write_text(json.dumps(own))


def ours(pipeline: Pipeline, request: Request, noise: Tensor) -> Render:
    """Kinora's way to the clip."""

    def render(clock: Clock) -> Tensor:
        return torch.cat(list(pipeline.generate(request, noise, lambda p: clock.ended(p.stage))))

    return render


def theirs(folder: Path, request: Request, noise: Tensor, text_length: int) -> Render:
    """diffusers' way to the same clip."""
    pipeline = diffusers.WanPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    @torch.inference_mode()
    def render(clock: Clock) -> Tensor:
        def step_ended(_pipeline: object, _step: int, _t: object, tensors: dict) -> dict:
            clock.ended("denoise")
            return tensors

        prompt, negative = pipeline.encode_prompt(
            request.prompt, "", max_sequence_length=text_length
        )
        clock.ended("text")
        frames = pipeline(
            prompt_embeds=prompt,
            negative_prompt_embeds=negative,
            height=request.height,
            width=request.width,
            num_frames=request.frames,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance,
            latents=noise.clone(),
            output_type="np",
            callback_on_step_end=step_ended,
        ).frames[0]
        clock.ended("decode")
        return torch.from_numpy(frames).mul(255).round().to(torch.uint8)

    return render


def table(runs: dict[str, list[Clock]], steps: int) -> str:
    """Medians in milliseconds, and how many times faster the first column is."""
    lines = [f"{'ms':<16}{'kinora':>12}{'diffusers':>12}{'ratio':>9}"]
    rows = {stage: [stage] for stage in STAGES} | {"whole clip": list(STAGES)}
    for name, stages in rows.items():
        kinora, reference = (
            statistics.median(sum(clock.seconds[s] for s in stages) for clock in clocks) * 1000
            for clocks in runs.values()
        )
        lines.append(f"{name:<16}{kinora:12.0f}{reference:12.0f}{reference / kinora:8.2f}x")
        if name == "denoise":
            per_step = (kinora / steps, reference / steps)
            lines.append(f"{'  one step':<16}{per_step[0]:12.1f}{per_step[1]:12.1f}")
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="a folder in diffusers' layout")
    parser.add_argument("--size", default="448x256", help="width x height, on the grid")
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()

    width, height = (int(side) for side in asked.size.split("x"))
    with tempfile.TemporaryDirectory() as made:
        folder = asked.checkpoint or Path(made)
        if asked.checkpoint is None:
            write_random_checkpoint(folder)
        request = Request(
            prompt=PROMPT,
            width=width,
            height=height,
            frames=asked.frames,
            steps=asked.steps,
            guidance=asked.guidance,
        )
        pipeline = Pipeline.load(folder)
        vae = pipeline.config.vae
        rows, columns = height // vae.scale_factor_spatial, width // vae.scale_factor_spatial
        length = 1 + (asked.frames - 1) // vae.scale_factor_temporal
        noise = torch.randn(
            (1, vae.z_dim, length, rows, columns), generator=torch.Generator().manual_seed(0)
        )
        renders = {
            "kinora": ours(pipeline, request, noise),
            "diffusers": theirs(folder, request, noise, pipeline.config.text_length),
        }
        clips = {name: render(Clock()) for name, render in renders.items()}  # warm-up

        runs: dict[str, list[Clock]] = {name: [] for name in renders}
        for _ in range(asked.repeats):
            for name, render in renders.items():
                clock = Clock()
                render(clock)
                runs[name].append(clock)

    print(
        f"{width}x{height}, {asked.frames} frames, {asked.steps} steps, guidance {asked.guidance}, "
        f"float32, {asked.threads} CPU threads, median of {asked.repeats}"
    )
    print(table(runs, asked.steps))
    apart = clips["kinora"].float() - clips["diffusers"].float()
    mse = apart.square().mean().clamp_min(1e-12)
    psnr = 10 * torch.log10(255**2 / mse)
    print(f"largest difference {apart.abs().max():.0f}/255, PSNR {psnr:.1f} dB")


if __name__ == "__main__":
    main()
