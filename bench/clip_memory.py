"""How much memory a clip takes: measured in a process of its own, beside the estimate.

    python -m bench.clip_memory [256x160:5 256x160:60 …] [--steps 1]

`taken` is how far the process's resident memory rose above what it was with the checkpoint loaded
(its highest point while the clip was made), `estimate` the same from `Pipeline.memory`.
"""

import argparse
import gc
import subprocess
import sys
from pathlib import Path

import torch

from model import Pipeline, Request

CHECKPOINT = Path(__file__).parents[1] / "model" / "weights" / "kinora-tiny"
CASES = ("256x160:5", "256x160:60", "640x352:2", "1920x1080:2", "1920x1080:6")
MIB = 2**20


def main() -> None:
    """Print a line for each case; a case is measured by this module's own child process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="WIDTHxHEIGHT:SECONDS")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(*measure(asked.cases[0], asked.checkpoint, asked.steps))
        return
    print(f"{'size':>10} {'s':>4} {'process':>8} {'taken':>6} {'estimate':>8} {'error':>6}  (MiB)")
    for case in asked.cases or CASES:
        command = [sys.executable, "-m", "bench.clip_memory", case, "--measure"]
        command += ["--steps", str(asked.steps), "--checkpoint", str(asked.checkpoint)]
        line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        highest, taken, estimate = (float(value) / MIB for value in line.split())
        size, seconds = case.split(":")
        error = estimate / taken - 1
        print(
            f"{size:>10} {seconds:>4} {highest:8.0f} {taken:6.0f} {estimate:8.0f} {error:+6.0%}",
            flush=True,
        )


def measure(case: str, checkpoint: Path, steps: int) -> tuple[int, int, int]:
    """The process's highest resident memory, its rise above the loaded checkpoint, the estimate."""
    size, seconds = case.split(":")
    width, height = map(int, size.split("x"))
    pipeline = Pipeline.load(checkpoint)
    able = pipeline.capabilities
    # Libraries set themselves up with the first clip.
    list(pipeline.generate(Request("a ball", frames=5, width=64, height=64, steps=1)))
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    frames = round(float(seconds) * able.fps) // able.frame_factor * able.frame_factor + 1
    made = 0
    request = Request("a red ball", width=width, height=height, frames=frames, steps=steps)
    for chunk in pipeline.generate(request):
        made += len(chunk)
    assert made == frames
    highest = resident("VmHWM")
    memory = pipeline.memory(width, height)
    return highest, highest - before, memory.peak - memory.weights


def resident(kind: str) -> int:
    """Bytes, as /proc tells them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
