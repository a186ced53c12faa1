"""How well a checkpoint does what prompts say, scored by the detector on held-out prompts."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from model import Pipeline, Request
from model.training import captions, scenes
from model.training.detector import ATTRIBUTES, Detector, Seen, load
from model.training.scenes import Scenes
from model.vae import VAE

SHIPPED = Path(__file__).parents[1] / "weights" / "detector.safetensors"
SIZES = ((160, 256), (192, 192), (256, 160))  # height, width


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt, the scene that it describes, and the size to make it at."""

    prompt: str
    scene: Scenes  # of one
    height: int
    width: int
    seed: int


def cases(count: int, *, seed: int = 2026) -> list[Case]:
    """Prompts that name every attribute, all of shape-colour pairs that training never showed."""
    sizes = (SIZES[0] if i % 2 else SIZES[1 + i // 2 % 2] for i in range(count))
    return [case(i, height, width, seed=seed) for i, (height, width) in enumerate(sizes)]


def case(i: int, height: int, width: int, *, seed: int = 2026) -> Case:
    """The i-th of these prompts, for a size."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + i)
    scene = scenes.sample(1, generator, held_out=True, aspect=width / height)
    prompt = captions.describe(scene, generator, complete=True)[0]
    return Case(prompt, scene, height, width, seed + i)


def right(seen: Seen, scene: Scenes) -> dict[str, bool | None]:
    """Which attributes of one clip are as asked; None where the style hides the colour."""
    out: dict[str, bool | None] = {}
    for name in ATTRIBUTES:
        out[name] = bool(getattr(seen, name)[0] == getattr(scene, name)[0])
    if int(scene.style[0]) >= 2:
        out["colour"] = None
    return out


def table(rows: dict[str, list[dict[str, bool | None]]]) -> str:
    """Per cent right of each attribute, and of all together, as a Markdown table."""
    names = (*ATTRIBUTES, "all")
    lines = ["| | " + " | ".join(names) + " | n |", "|---" * (len(names) + 2) + "|"]
    for title, results in rows.items():
        cells = []
        for name in names:
            if name == "all":
                known = [all(v is not False for v in r.values()) for r in results]
            else:
                known = [verdict for r in results if (verdict := r.get(name)) is not None]
            cells.append(f"{100 * sum(known) / len(known):.1f}" if known else "")
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {len(results)} |")
    return "\n".join(lines)


def truth(case: Case, frames: int = 25) -> Tensor:
    """The rendered clip `[1, 3, f, h, w]` that a case describes."""
    return scenes.render(case.scene, frames, case.height, case.width)[0]


def generated(
    pipeline: Pipeline,
    case: Case,
    image: Image.Image | None = None,
    frames: int | None = None,
) -> Tensor:
    """The clip `[1, 3, f, h, w]` in [-1, 1] that the pipeline makes of a case."""
    request = Request(
        prompt=case.prompt,
        width=case.width,
        height=case.height,
        seed=case.seed,
        image=image,
        frames=frames,
    )
    clip = torch.cat(list(pipeline.generate(request)))
    return clip.permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def to_image(frame: Tensor) -> Image.Image:
    """A frame `[3, h, w]` in [-1, 1] as a picture."""
    pixels = ((frame + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0)
    return Image.fromarray(pixels.numpy())


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    return float(-10 * torch.log10(((a - b) ** 2).mean().clamp(min=1e-10) / 4))


def evaluate(
    checkpoint: Path, detector: Detector, vae: VAE, *, count: int, report: Path | None = None
) -> dict[str, list[dict[str, bool | None]]]:
    """Score text to video, image to video and stills, beside the ceiling of decoded truth."""
    pipeline = Pipeline.load(checkpoint)
    asked = cases(count)
    rows: dict[str, list[dict[str, bool | None]]] = {
        "rendered truth": [],
        "decoded truth (ceiling)": [],
        "text to video": [],
        "image to video": [],
        "still image": [],
    }
    first_frames, sheets = [], []
    for i, case in _progress(asked):
        real = truth(case)
        rows["rendered truth"].append(right(detector.look(real), case.scene))
        with torch.no_grad():
            decoded = vae.decode(vae.encode(real)).clamp(-1, 1)
        rows["decoded truth (ceiling)"].append(right(detector.look(decoded), case.scene))
        clip = generated(pipeline, case)
        rows["text to video"].append(right(detector.look(clip), case.scene))
        if len(sheets) < 24:
            sheets.append(clip[0])
        if i % 4 == 0:
            start = to_image(real[0, :, 0])
            animated = generated(pipeline, case, image=start)
            rows["image to video"].append(right(detector.look(animated), case.scene))
            first_frames.append(psnr(animated[0, :, 0], real[0, :, 0]))
            still = generated(pipeline, case, frames=1)
            verdict = right(detector.look(still), case.scene)
            rows["still image"].append(verdict | {"motion": None})
    print(table(rows))
    print(f"first frame of image to video: {sum(first_frames) / len(first_frames):.1f} dB")
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        sheet(sheets).save(report / "text-to-video.png")
        scored = zip(asked, rows["text to video"], strict=True)
        lines = [{"prompt": case.prompt, "right": verdict} for case, verdict in scored]
        (report / "text-to-video.json").write_text(json.dumps(lines, indent=1))
    return rows


def sheet(clips: list[Tensor], columns: int = 3, height: int = 144) -> Image.Image:
    """Clips `[3, f, h, w]` as rows of first, middle and last frame."""
    rows = []
    for clip in clips:
        f = clip.shape[1]
        picks = [clip[:, round(s * (f - 1))] for s in (0, 0.5, 1)]
        images = [to_image(p) for p in picks]
        images = [im.resize((round(im.width * height / im.height), height)) for im in images]
        row = Image.new("RGB", (240 * 3, height), "white")
        for k, im in enumerate(images):
            row.paste(im, (240 * k + (240 - im.width) // 2, 0))
        rows.append(row)
    lines = math.ceil(len(rows) / columns)
    page = Image.new("RGB", (columns * 730, lines * (height + 8)), "white")
    for i, row in enumerate(rows):
        page.paste(row, ((i % columns) * 730, (i // columns) * (height + 8)))
    return page


def _progress(asked: list[Case]) -> Iterator[tuple[int, Case]]:
    start = time.monotonic()
    for i, case in enumerate(asked):
        yield i, case
        spent = time.monotonic() - start
        left = spent / (i + 1) * (len(asked) - i - 1)
        if (i + 1) % 10 == 0:
            print(f"evaluate  {i + 1}/{len(asked)}  {left:.0f} s left", flush=True)


def load_detector(folder: Path) -> Detector:
    """The detector that a training folder holds, or else the one that is shipped."""
    path = folder / "detector.safetensors"
    return load(path if path.exists() else SHIPPED)
