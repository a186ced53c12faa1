"""What bfloat16 saves and what it costs: the same clips in float32 and in bfloat16, side by side.

    python -m bench.dtypes [256x160:25 848x480:25 …] [--repeat 3] [--device cpu]

Seconds are medians of one thread's processor time on a CPU, of wall time elsewhere; PSNR is against
the frames of float32, where 50 dB are a grey level or less. Where a transformer's small errors tip
a choice, PSNR says little, and `python -m model.training evaluate` says more.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from model import Pipeline, Request

CHECKPOINT = Path(__file__).parents[1] / "model" / "weights" / "kinora-tiny"
CASES = ("256x160:25", "848x480:25", "1920x1080:9")
PROMPT = "a red ball bounces on the grass, realistic"
FULL, HALF = torch.float32, torch.bfloat16
WAYS = {"float32": (FULL, FULL), "VAE bfloat16": (FULL, HALF), "bfloat16": (HALF, HALF)}


def main() -> None:
    """Print a line for each case and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="WIDTHxHEIGHT:FRAMES")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.process_time if asked.device == "cpu" else time.perf_counter
    pipelines = {
        name: Pipeline.load(asked.checkpoint, asked.device, dtype, vae_dtype=vae_dtype)
        for name, (dtype, vae_dtype) in WAYS.items()
    }
    print(f"{'clip':>12} {'':>12} {'s':>7} {'ratio':>6} {'PSNR, dB':>9}")
    for case in asked.cases or CASES:
        size, frames = case.split(":")
        width, height = map(int, size.split("x"))
        request = Request(PROMPT, width=width, height=height, frames=int(frames))
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        clips: dict[str, Tensor] = {}
        for _ in range(asked.repeat):
            for name, pipeline in pipelines.items():
                start = clock()
                clips[name] = torch.cat([f.cpu() for f in pipeline.generate(request)]).float()
                seconds[name].append(clock() - start)
        usual = statistics.median(seconds["float32"])
        for name, clip in clips.items():
            median = statistics.median(seconds[name])
            error = float(((clip - clips["float32"]) ** 2).mean())
            close = f"{10 * torch.tensor(255**2 / error).log10():9.1f}" if error else ""
            print(f"{case:>12} {name:>12} {median:7.2f} {median / usual:6.2f} {close}", flush=True)


if __name__ == "__main__":
    main()
