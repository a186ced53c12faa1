"""Every mode of the service, scored on held-out prompts: both ends, extend, loop, edit, a minute.

Where a mode goes on from frames or changes them, these are rendered, so that the truth beyond them
is known. What is asked of a clip is a named verdict; a mode's row says how often each held.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from model import Pipeline, Request
from model.training import captions, scenes
from model.training.detector import Detector, load
from model.training.evaluate import SHIPPED, Case, case, cases, psnr, right, to_image
from model.training.scenes import COLOURS, MOTIONS, SHAPES, STYLES, Scenes

CLIP = 25  # frames of a window, and of a clip that is gone on from
FPS = 16
MINUTE = 60 * FPS + 1
#: Frames over which a velocity is read; the detector looks at every second one.
SPAN = 13
#: How far a velocity may be off: a share of the true one, or so many half heights a second.
SPEED_OFF, SPEED_LEAST = 0.35, 0.15
#: Words that no caption of the training has.
UNSEEN = {
    "ball": "orb", "square": "hexahedron", "triangle": "delta", "star": "asterisk",
    "heart": "valentine", "ring": "hula", "red": "crimson", "orange": "apricot",
    "yellow": "lemon", "green": "jade", "blue": "azure", "purple": "mauve",
    "pink": "magenta", "white": "ivory",
}  # fmt: skip

Verdict = dict[str, bool | float]  # numbers are averaged, the rest counted


@dataclass(frozen=True, slots=True)
class Judge:
    """A checkpoint and who looks at what it makes."""

    pipeline: Pipeline
    detector: Detector

    def make(self, asked: Case, **fields: object) -> Tensor:
        """The clip `[1, 3, f, h, w]` in [-1, 1] of a case, with more fields of its request."""
        common = {"width": asked.width, "height": asked.height, "seed": asked.seed}
        request = Request(**({"prompt": asked.prompt} | common | fields))  # type: ignore[arg-type]
        clip = torch.cat(list(self.pipeline.generate(request)))
        return clip.permute(3, 0, 1, 2)[None].float() / 127.5 - 1

    def sees(self, clip: Tensor, scene: Scenes, *names: str) -> Verdict:
        """Which of these attributes are right; a colour that the style hides is."""
        found = right(self.detector.look(clip), scene)
        return {name: found[name] is not False for name in names}

    def velocity(self, clip: Tensor) -> Tensor:
        """Half heights a second `[2]` of the object over a clip of SPAN frames."""
        centres = self.detector.look(clip).track[0, :, :2]
        seconds = torch.linspace(0, (SPAN - 1) / FPS, len(centres))
        seconds = seconds - seconds.mean()
        return (seconds[:, None] * centres).sum(0) / (seconds**2).sum()

    def goes_on(self, clip: Tensor, real: Tensor) -> bool:
        """Whether the object moves as it truly does."""
        made, true = self.velocity(clip), self.velocity(real)
        return float((made - true).norm()) <= max(SPEED_LEAST, SPEED_OFF * float(true.norm()))


def steps(clip: Tensor) -> Tensor:
    """Mean absolute difference between neighbouring frames."""
    return (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean((0, 1, 3, 4))


def frames_of(clip: Tensor) -> Tensor:
    """A clip as the frames `[f, h, w, 3]` of a request, uint8."""
    return ((clip[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0)


def real(asked: Case, frames: int) -> Tensor:
    """The rendered clip `[1, 3, frames, h, w]`; a longer one has the shorter in its middle."""
    return scenes.render(asked.scene, frames, asked.height, asked.width)[0]


# The modes. Each makes one clip of a case.


def text(judge: Judge, asked: Case) -> Verdict:
    """A clip from words alone."""
    clip = judge.make(asked)
    return judge.sees(clip, asked.scene, "shape", "colour", "motion", "background", "style")


def still(judge: Judge, asked: Case) -> Verdict:
    """A picture from words alone."""
    return judge.sees(
        judge.make(asked, frames=1), asked.scene, "shape", "colour", "background", "style"
    )


def image(judge: Judge, asked: Case) -> Verdict:
    """A clip that begins with a rendered picture."""
    start = real(asked, CLIP)[0, :, 0]
    clip = judge.make(asked, image=to_image(start))
    seen = judge.sees(clip, asked.scene, "shape", "colour", "motion", "background", "style")
    return seen | {"first frame, dB": psnr(clip[0, :, 0], start)}


def ends(judge: Judge, asked: Case) -> Verdict:
    """A clip between two rendered pictures."""
    truth = real(asked, CLIP)[0]
    first, last = truth[:, 0], truth[:, -1]
    clip = judge.make(asked, image=to_image(first), last_image=to_image(last))
    moved = steps(clip)
    return {
        "first frame, dB": psnr(clip[0, :, 0], first),
        "last frame, dB": psnr(clip[0, :, -1], last),
        # Steps of a still picture are noise of a grey level, whose ratio says nothing.
        "smooth": bool(moved.max() <= max(3 * float(moved.median()), 0.02)),
    } | judge.sees(clip, asked.scene, "shape", "motion")


def extend(judge: Judge, asked: Case, *, backward: bool = False) -> Verdict:
    """More of a rendered clip, after it or before it."""
    halves = real(asked, 2 * CLIP).split(CLIP, dim=2)
    if backward:
        unknown, known = halves
        clip = judge.make(asked, after=frames_of(known), frames=CLIP)
        made, true = clip[:, :, -SPAN:], unknown[:, :, -SPAN:]
        joint = torch.cat([clip[:, :, -1:], known[:, :, :1]], 2)
    else:
        known, unknown = halves
        clip = judge.make(asked, before=frames_of(known), frames=CLIP - 1)
        made, true = clip[:, :, :SPAN], unknown[:, :, :SPAN]
        joint = torch.cat([known[:, :, -1:], clip[:, :, :1]], 2)
    usual = float(steps(known).median())
    return judge.sees(clip, asked.scene, "shape", "colour", "background") | {
        "velocity": judge.goes_on(made, true),
        "seam": float(steps(joint)) <= max(2 * usual, 0.02),
    }


def loop(judge: Judge, asked: Case) -> Verdict:
    """A clip whose end leads back to its beginning."""
    clip = judge.make(asked, loop=True)
    joint = torch.cat([clip[:, :, -1:], clip[:, :, :1]], 2)
    closed = float(steps(joint)) <= max(1.5 * float(steps(clip).median()), 0.02)
    return judge.sees(clip, asked.scene, "shape", "colour", "background") | {"closed": closed}


def edit(judge: Judge, asked: Case, *, what: str) -> Verdict:
    """Another colour, or the other style with colours, is asked for; the rest is to stay."""
    names = {"colour": COLOURS, "style": STYLES}[what]
    source = replace(asked.scene, style=asked.scene.style % 2)
    now = getattr(source, what)
    change = (now + 1) % 2 if what == "style" else (now + 3) % len(names)
    target = replace(source, **{what: change})
    prompt = captions.describe(target, torch.Generator().manual_seed(asked.seed), complete=True)[0]
    before = scenes.render(source, CLIP, asked.height, asked.width)[0]
    clip = judge.make(replace(asked, prompt=prompt), video=frames_of(before))
    was = judge.detector.look(before).track[0, :, :2]
    now_at = judge.detector.look(clip).track[0, :, :2]
    return judge.sees(clip, target, what, "shape", "background") | {
        "track": _correlation(was, now_at) >= 0.9
    }


def minute(judge: Judge, asked: Case) -> Verdict:
    """Sixty seconds from words alone."""
    clip = judge.make(asked, frames=MINUTE)
    first, last = clip[:, :, : 5 * FPS], clip[:, :, -5 * FPS :]
    bright = [float(part.mean() + 1) for part in (first, last)]
    return judge.sees(last, asked.scene, "shape", "colour", "background", "style") | {
        "brightness within 5 %": abs(bright[1] / bright[0] - 1) <= 0.05
    }


def unseen(judge: Judge, asked: Case, *, what: str) -> Verdict:
    """One word of the prompt is none that training had."""
    names = {"shape": SHAPES, "colour": COLOURS}[what]
    name = names[int(getattr(asked.scene, what)[0])]
    scene = replace(asked.scene, style=asked.scene.style % 2)
    generator = torch.Generator().manual_seed(asked.seed)
    instead = {name: UNSEEN[name]}
    prompt = captions.describe(scene, generator, complete=True, instead=instead)[0]
    return judge.sees(judge.make(replace(asked, prompt=prompt)), scene, what)


MODES: dict[str, tuple[Callable[[Judge, Case], Verdict], float]] = {
    # what, and its share of the prompts
    "text to video": (text, 1.0),
    "still image": (still, 1.0),
    "image to video": (image, 0.5),
    "first and last frame": (ends, 0.5),
    "extend forward": (extend, 0.5),
    "extend backward": (partial(extend, backward=True), 0.5),
    "loop": (loop, 0.5),
    "edit, colour": (partial(edit, what="colour"), 0.5),
    "edit, style": (partial(edit, what="style"), 0.5),
    "60 s, its last 5 s": (minute, 0.1),
    "unseen word for the shape": (partial(unseen, what="shape"), 0.25),
    "unseen word for the colour": (partial(unseen, what="colour"), 0.25),
}
#: Sizes of text to video, with their share of the prompts: height, width.
SIZES = {
    "256x256": (256, 256, 0.5),
    "848x480 (16:9)": (480, 848, 0.3),
    "480x848 (9:16)": (848, 480, 0.3),
    "1120x480 (21:9)": (480, 1120, 0.3),
    "1920x1080": (1080, 1920, 0.1),
}


def _correlation(a: Tensor, b: Tensor) -> float:
    """Of two tracks `[n, 2]`; 1 where neither moves."""
    a, b = a - a.mean(0), b - b.mean(0)
    if max(float(a.norm()), float(b.norm())) < 0.15:
        return 1.0
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-6))


def adversaries(detector: Detector, count: int = 40) -> dict[str, float]:
    """Per cent of clips that must not count as what they are not, and do not.

    Noise and an empty background have no object; a clip whose frames are all its first must not
    move; an object of another shape or colour must be told from the one that was asked for.
    """
    verdicts: dict[str, list[bool]] = {}
    for asked in cases(count):
        clip = real(asked, CLIP)
        noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(asked.seed))
        stopped = clip[:, :, :1].expand_as(clip)
        others = {
            name: replace(asked.scene, **{name: (getattr(asked.scene, name) + 1) % size})
            for name, size in (("shape", len(SHAPES)), ("colour", len(COLOURS)))
        }
        moving = int(asked.scene.motion[0]) != MOTIONS.index("still")
        found = {
            "noise": int(detector.look(noise.clamp(-1, 1)).shape[0]) == -1,
            "a still clip": not moving
            or int(detector.look(stopped).motion[0]) != int(asked.scene.motion[0]),
        }
        for name, scene in others.items():
            if name == "colour" and int(scene.style[0]) >= 2:
                continue
            seen = right(detector.look(real(replace(asked, scene=scene), CLIP)), asked.scene)
            found[f"another {name}"] = seen[name] is False
        for name, verdict in found.items():
            verdicts.setdefault(name, []).append(verdict)
    return {name: 100 * sum(held) / len(held) for name, held in verdicts.items()}


def table(rows: dict[str, list[Verdict]]) -> str:
    """A Markdown table: per cent of the clips for which each verdict held, or its mean."""
    lines = ["| mode | n | |", "|---|---|---|"]
    for mode, verdicts in rows.items():
        cells = []
        for name in verdicts[0]:
            values = [v[name] for v in verdicts]
            share = all(isinstance(v, bool) for v in values)
            cells.append(f"{name} {(100 if share else 1) * sum(values) / len(values):.1f}")
        lines.append(f"| {mode} | {len(verdicts)} | {', '.join(cells)} |")
    return "\n".join(lines)


def score(
    checkpoint: Path, *, count: int = 100, workers: int = 1, only: str = ""
) -> dict[str, list[Verdict]]:
    """Score every mode whose name contains `only`, in `workers` processes, and print the table."""
    tasks = [(name, i) for name, i in _tasks(count) if only in name]
    rows: dict[str, list[Verdict]] = {}
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _prepare, (checkpoint, SHIPPED)) as pool:
        for done, (name, verdict) in enumerate(pool.imap(_run, tasks), 1):
            rows.setdefault(name, []).append(verdict)
            if done % 20 == 0:
                print(f"modes  {done}/{len(tasks)}  {name}", flush=True)
    print(table(rows))
    return rows


def _tasks(count: int) -> Iterator[tuple[str, int]]:
    for name, (_, share) in MODES.items():
        for i in range(max(1, round(count * share))):
            yield name, i
    for name, (_, _, share) in SIZES.items():
        for i in range(max(1, round(count * share))):
            yield name, i


_judge: Judge


def _prepare(checkpoint: Path, detector: Path) -> None:
    global _judge  # noqa: PLW0603  (a process of the pool has one judge)
    torch.set_num_threads(1)
    _judge = Judge(Pipeline.load(checkpoint), load(detector))


def _run(task: tuple[str, int]) -> tuple[str, Verdict]:
    name, i = task
    if name in SIZES:
        height, width, _ = SIZES[name]
        return name, text(_judge, case(i, height, width))
    return name, MODES[name][0](_judge, cases(i + 1)[i])
