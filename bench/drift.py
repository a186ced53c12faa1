"""How a one-minute clip changes that should not: colour, contrast, and steps between windows.

    python -m bench.drift [--seconds 60] [--seeds 2] [--prompt "…"] [--keep FOLDER]

For each clip: brightness and contrast of its last 5 s against the first 5 s, and how large the step
between two frames is where windows meet, in multiples of the median step.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from model import Pipeline, Request, drift, outline
from model.resolve import resolve

CHECKPOINT = Path(__file__).parents[1] / "model" / "weights" / "kinora-tiny"
PROMPTS = (
    "a red ball bounces on the grass, cartoon",
    "a blue square stands still on a white background",
)


def main() -> None:
    """Print a line for each clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--prompt", action="append", help="repeat it for more clips")
    parser.add_argument("--pull", type=float, nargs="+", default=[drift.PULL])
    parser.add_argument("--keep", type=Path, help="folder for pictures of each clip's seconds")
    asked = parser.parse_args()
    pipeline = Pipeline.load(asked.checkpoint)
    fps = round(pipeline.capabilities.fps)
    print(f"{'pull':>5} {'seed':>4} {'bright':>7} {'contrast':>8} {'seam':>5} {'worst':>6}  prompt")
    for prompt in asked.prompt or PROMPTS:
        for seed in range(asked.seeds):
            for pull in asked.pull:
                drift.PULL = pull
                request = Request(
                    prompt, frames=asked.seconds * fps + 1, seed=seed, steps=asked.steps
                )
                clip = torch.cat(list(pipeline.generate(request)))
                values = measure(clip, seams(pipeline, request), fps)
                print(
                    f"{pull:5.2f} {seed:4} {values[0]:+7.1%} {values[1]:+8.1%} {values[2]:5.2f} "
                    f"{values[3]:6.2f}  {prompt}",
                    flush=True,
                )
                if asked.keep:
                    name = f"{prompt[:20].strip().replace(' ', '-')}-{seed}-{pull}.png"
                    asked.keep.mkdir(parents=True, exist_ok=True)
                    sheet(clip, fps).save(asked.keep / name)


def seams(pipeline: Pipeline, request: Request) -> list[int]:
    """The first frame of each window but the first."""
    resolved = resolve(request, pipeline.capabilities)
    windows = outline.windows(resolved, pipeline.config)
    factor = pipeline.capabilities.frame_factor
    return [(window.first - 1) * factor + 1 for window in windows[1:]]


def measure(clip: torch.Tensor, starts: list[int], fps: int) -> tuple[float, ...]:
    """Brightness and contrast at the end against the beginning; median and largest seam."""
    ends = [part.float() for part in (clip[: 5 * fps], clip[-5 * fps :])]
    bright = [part.mean().item() for part in ends]
    contrast = [part.std(dim=(1, 2, 3)).mean().item() for part in ends]
    step = (clip[1:].float() - clip[:-1].float()).abs().mean(dim=(1, 2, 3))
    at = step[torch.tensor(starts) - 1] / step.median()
    return (
        bright[1] / bright[0] - 1,
        contrast[1] / contrast[0] - 1,
        at.median().item(),
        at.max().item(),
    )


def sheet(clip: torch.Tensor, fps: int) -> Image.Image:
    """A row of frames: every fifth second."""
    return Image.fromarray(torch.cat(list(clip[:: 5 * fps]), dim=1).numpy())


if __name__ == "__main__":
    main()
