"""A minute of full HD: its memory, its seams and its speed, as numbers and as pictures.

    python -m bench.minute FOLDER [--size 1920x1080] [--seconds 60] [--prompt "…"] [--threads 2]

`FOLDER` gets `memory.png` (resident memory of the process over the time of work), `moments.jpg`
(five frames, evenly spread) and `seams.jpg` (the frames before and after some windows' seams). A
seam's step is the mean difference between its two frames, in multiples of the clip's median step;
99 % of all other steps are at most the last number of the row.
The curve of the memory comes last, and needs `pip install matplotlib`.
"""

import argparse
import threading
import time
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torch import Tensor

from bench.clip_memory import MIB, resident
from bench.drift import CHECKPOINT, seams
from bench.pictures import lines
from model import Pipeline, Request

#: Pictures of `moments.jpg`, and seams of `seams.jpg`.
MOMENTS, SEAMS = 5, 4
#: Width of a picture on a sheet.
WIDTH = 480


def main() -> None:
    """Make the clip, write the pictures and print a line of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--prompt", default="a big red ball bounces on the grass, cartoon")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(asked.threads)
    pipeline = Pipeline.load(CHECKPOINT)
    width, height = map(int, asked.size.split("x"))
    count = asked.seconds * round(pipeline.capabilities.fps) + 1
    request = Request(asked.prompt, width=width, height=height, frames=count, seed=asked.seed)
    starts = seams(pipeline, request)
    moments = [round(i * (count - 1) / (MOMENTS - 1)) for i in range(MOMENTS)]
    shown = [starts[round(i * (len(starts) - 1) / (SEAMS - 1))] for i in range(SEAMS)]
    wanted = {*moments, *shown, *(start - 1 for start in shown)}

    watch = Watch()
    began, steps, kept = time.monotonic(), list[float](), dict[int, Image.Image]()
    last: Tensor | None = None
    for number, frame in enumerate(f for chunk in pipeline.generate(request) for f in chunk):
        pixels = frame.float()
        if last is not None:
            steps.append(float((pixels - last).abs().mean()))
        last = pixels
        if number in wanted:
            kept[number] = picture(frame)
    took = time.monotonic() - began
    usual = median(steps)
    at = [steps[start - 1] / usual for start in starts]
    others = sorted(step / usual for i, step in enumerate(steps, 1) if i not in starts)

    row([kept[n] for n in moments]).save(asked.folder / "moments.jpg", quality=85)
    pairs = [n for start in shown for n in (start - 1, start)]
    row([kept[n] for n in pairs[::2]], [kept[n] for n in pairs[1::2]]).save(
        asked.folder / "seams.jpg", quality=85
    )
    print("| size | s | s of work a second | peak, MiB | seams | median step | largest | others |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {asked.size} | {asked.seconds} | {took / asked.seconds:.1f} "
        f"| {resident('VmHWM') / MIB:.0f} | {len(at)} | {median(at):.2f} | {max(at):.2f} "
        f"| {others[int(0.99 * len(others))]:.2f} |"
    )
    watch.draw(asked.folder / "memory.png", f"{asked.size}, {asked.seconds} s")


class Watch:
    """Looks at the process's memory twice a second, from now on."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._over = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._over.wait(0.5):
            self.seen.append(resident("VmRSS") / MIB)

    def draw(self, path: Path, case: str) -> None:
        """A picture of the curve so far."""
        self._over.set()
        minutes = [number / 120 for number in range(len(self.seen))]
        curve = {f"kinora-tiny, {case}": (minutes, self.seen)}
        lines(path, curve, "minutes of work", "resident memory, MiB")


def picture(frame: Tensor) -> Image.Image:
    """A frame `[h, w, 3]`, small."""
    whole = Image.fromarray(frame.numpy())
    return whole.resize((WIDTH, round(whole.height * WIDTH / whole.width)))


def row(*rows: list[Image.Image]) -> Image.Image:
    """Pictures beside each other, rows below each other."""
    width, height = rows[0][0].size
    page = Image.new("RGB", (width * len(rows[0]), height * len(rows)))
    for y, pictures in enumerate(rows):
        for x, small in enumerate(pictures):
            page.paste(small, (x * width, y * height))
    return page


if __name__ == "__main__":
    main()
