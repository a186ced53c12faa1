"""How well a checkpoint does what prompts say, in every mode: a table, and sheets of the clips."""

import math
import multiprocessing
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from model import Pipeline
from model.training import detector
from model.training.cases import to_image
from model.training.detector import ATTRIBUTES
from model.training.judge import Judge, Verdict
from model.training.modes import MODES, SIZES, made
from model.training.weights import load_vae

#: Clips on a sheet, and the pictures of each: of a minute they lie 15 s apart.
ROWS, PICTURES = 24, 5


def evaluate(
    checkpoint: Path,
    judge: Path = detector.SHIPPED,
    *,
    count: int = 200,
    workers: int = 1,
    only: str = "",
    report: Path | None = None,
) -> dict[str, list[Verdict]]:
    """Score the modes whose name contains `only` with a detector's file, and print the table.

    `count` prompts are what text to video gets; the costlier modes get fewer. `report` is a folder
    for the table and for a sheet of each mode.
    """
    tasks = [task for task in _tasks(count) if only in task[0]]
    if not tasks:
        names = ", ".join((*MODES, *SIZES))
        raise ValueError(f"--only {only}: is in none of the modes' names: {names}")
    rows: dict[str, list[Verdict]] = {}
    strips: dict[str, list[Image.Image]] = {}
    start = time.monotonic()
    context = multiprocessing.get_context("spawn")
    run = partial(_run, checkpoint, judge)
    with context.Pool(workers) as pool:
        for done, (mode, verdict, strip) in enumerate(pool.imap(run, tasks), 1):
            rows.setdefault(mode, []).append(verdict)
            if strip is not None and len(strips.setdefault(mode, [])) < ROWS:
                strips[mode].append(strip)
            _tell(start, done, len(tasks))
    print(table(rows))
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        (report / "table.md").write_text(table(rows) + "\n")
        for mode, pictures in strips.items():
            name = "".join(c if c.isalnum() else "-" for c in mode)
            sheet(pictures).save(report / f"{name}.jpg", quality=85)
    return rows


def table(rows: dict[str, list[Verdict]]) -> str:
    """Per cent of the clips for which each verdict held, means of numbers, as Markdown."""
    names = (*ATTRIBUTES, "all")
    lines = ["| | " + " | ".join(names) + " | n | |", "|---" * (len(names) + 3) + "|"]
    for mode, verdicts in rows.items():
        cells = [_share(verdicts, name) for name in ATTRIBUTES]
        whole = [all(v.get(name) is not False for name in ATTRIBUTES) for v in verdicts]
        cells.append(f"{100 * sum(whole) / len(whole):.1f}" if any(cells) else "")
        others = [name for name in verdicts[0] if name not in ATTRIBUTES]
        more = ", ".join(f"{name} {_share(verdicts, name)}" for name in others)
        lines.append(f"| {mode} | {' | '.join(cells)} | {len(verdicts)} | {more} |")
    return "\n".join(lines)


def _share(verdicts: list[Verdict], name: str) -> str:
    values = [value for v in verdicts if (value := v.get(name)) is not None]
    if not values:
        return ""
    scale = 100 if isinstance(values[0], bool) else 1
    return f"{scale * sum(values) / len(values):.1f}"


def strip_of(clip: Tensor, height: int = 96) -> Image.Image:
    """Pictures of a clip `[1, 3, f, h, w]` beside each other, from its first to its last frame."""
    last = clip.shape[2] - 1
    numbers = [round(last * i / (PICTURES - 1)) for i in range(PICTURES)] if last else [0]
    pictures = [to_image(clip[0, :, number]) for number in numbers]
    width = round(pictures[0].width * height / pictures[0].height)
    strip = Image.new("RGB", (width * len(pictures), height))
    for i, picture in enumerate(pictures):
        strip.paste(picture.resize((width, height)), (i * width, 0))
    return strip


def sheet(strips: list[Image.Image], columns: int = 2) -> Image.Image:
    """Strips below each other, in columns."""
    width, height = max(s.width for s in strips) + 8, strips[0].height + 4
    lines = math.ceil(len(strips) / columns)
    page = Image.new("RGB", (columns * width, lines * height), "white")
    for i, strip in enumerate(strips):
        page.paste(strip, (i // lines * width, i % lines * height))
    return page


def find_detector(folder: Path) -> Path:
    """The detector that a training folder holds, or else the one that is shipped."""
    path = folder / "detector.safetensors"
    return path if path.exists() else detector.SHIPPED


def _tell(start: float, done: int, count: int) -> None:
    if done % 10 == 0 or done == count:
        left = (time.monotonic() - start) / done * (count - done)
        print(f"evaluate  {done}/{count}  {left:.0f} s left", flush=True)


def _tasks(count: int) -> Iterator[tuple[str, int]]:
    for mode, (_, share) in MODES.items():
        for i in range(max(1, round(count * share))):
            yield mode, i
    for size, (_, _, share) in SIZES.items():
        for i in range(max(1, round(count * share))):
            yield size, i


@cache
def _judge(checkpoint: Path, judge: Path) -> Judge:
    """A process has one. (A pool begins a process that cannot be prepared anew, without end.)"""
    torch.set_num_threads(1)
    return Judge(Pipeline.load(checkpoint), detector.load(judge), load_vae(checkpoint))


def _run(
    checkpoint: Path, judge: Path, task: tuple[str, int]
) -> tuple[str, Verdict, Image.Image | None]:
    mode, i = task
    clip, verdict = made(_judge(checkpoint, judge), mode, i)
    return mode, verdict, strip_of(clip) if i < ROWS else None
