"""The moving picture at the top of README.md: clips of the included checkpoint, side by side.

python -m bench.showreel docs/showreel.webp
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from model import Pipeline, Request

CHECKPOINT = Path(__file__).parents[1] / "model" / "weights" / "kinora-tiny"
PROMPTS = (
    "a red ball moves right on the grass, realistic",
    "a purple rocket flies up at night, realistic",
    "a person walks right in the desert, cartoon",
    "a purple star grows next to an orange ball in the night sky",
    "a green house in the snow, watercolour",
    "black and white film of a ring that moves left in the sky",
)
COLUMNS = 3


def main() -> None:
    """Renders the clips, all from seed 1, and writes them as one animated WebP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=25)
    asked = parser.parse_args()
    pipeline = Pipeline.load(CHECKPOINT)
    clips: list[torch.Tensor] = []
    for prompt in PROMPTS:
        request = Request(prompt, frames=asked.frames, seed=asked.seed)
        clips.append(torch.cat(list(pipeline.generate(request))))
        print(f"{len(clips)}/{len(PROMPTS)}  {prompt}", flush=True)
    lines = [torch.cat(clips[i : i + COLUMNS], 2) for i in range(0, len(clips), COLUMNS)]
    first, *others = (Image.fromarray(frame.numpy()) for frame in torch.cat(lines, 1))
    length = round(1000 / pipeline.capabilities.fps)
    first.save(
        asked.target, save_all=True, append_images=others, duration=length, loop=0, quality=80
    )


if __name__ == "__main__":
    main()
