"""What is asked of a minute: that its last seconds show what its first do."""

from torch import Tensor

from model.training.cases import FPS, Case, case
from model.training.judging import Judge, Made, Verdict
from model.training.one_object import LASTING

MINUTE = 60 * FPS + 1
#: Frames at both ends of a minute that are compared.
SPANNED = 5 * FPS
#: Scenes that are looked at for one that lasts.
TRIES = 30


def minute(judge: Judge, asked: Case) -> Made:
    """Sixty seconds from words alone, of a scene that can be told after a minute."""
    for _ in range(TRIES):
        if lasts(judge, asked):
            break
        asked = case(asked.seed + 1000, asked.height, asked.width)
    clip = judge.make(asked, frames=MINUTE)
    return clip, _drift(judge, asked, clip[:, :, :SPANNED], clip[:, :, -SPANNED:])


def lasts(judge: Judge, asked: Case) -> bool:
    """Whether a scene, as the renderer draws it, has after a minute what is asked of one.

    Some have not: their objects have left the picture, or cover more of it than at first.
    """
    first, last = (asked.later(SPANNED, second) for second in (0, (MINUTE - SPANNED) / FPS))
    return all(held is not False for held in _drift(judge, asked, first, last).values())


def _drift(judge: Judge, asked: Case, first: Tensor, last: Tensor) -> Verdict:
    bright = [float(part.mean() + 1) for part in (first, last)]
    contrast = [float(part.std(dim=(1, 3, 4)).mean()) for part in (first, last)]
    return judge.sees(last, asked.scene, *LASTING) | {
        "brightness within 5 %": abs(bright[1] / bright[0] - 1) <= 0.05,
        "contrast within 5 %": abs(contrast[1] / contrast[0] - 1) <= 0.05,
    }
