"""Whatever a prompt says, the included checkpoint makes a picture of it, and never fails."""

import pytest
import torch

from app.embedded import default_checkpoint
from model import Pipeline, Request

PROMPTS = {
    "unknown words": "qwrtz plmk vbnx",
    "another language": "ein roter Ball springt über die Wiese",
    "another script": "草地上弹跳的红球",
    "right to left": "كرة حمراء على العشب",
    "emoji": "🎈🚗🏠👩‍👩‍👧",
    "signs": "<b>&amp;</b> {0} %s \\ ' \" -- ;",
    "ten thousand characters": "a red ball and " * 667,
    "one letter": "x",
}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load(default_checkpoint())


def still(pipeline: Pipeline, prompt: str, unwanted: str = "") -> torch.Tensor:
    request = Request(
        prompt, negative_prompt=unwanted, width=128, height=128, frames=1, steps=4, seed=1
    )
    return torch.cat(list(pipeline.generate(request)))


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_any_text_becomes_a_picture(pipeline: Pipeline, prompt: str) -> None:
    picture = still(pipeline, prompt)
    assert (1, 128, 128, 3) == tuple(picture.shape)
    assert picture.float().std() > 1


@pytest.mark.parametrize("unwanted", ["", "🎈", "qwrtz " * 2000], ids=["empty", "emoji", "long"])
def test_any_text_may_be_unwanted(pipeline: Pipeline, unwanted: str) -> None:
    picture = still(pipeline, "a red ball", unwanted)
    assert picture.float().std() > 1


def test_a_long_prompt_is_read_up_to_where_it_is_cut(pipeline: Pipeline) -> None:
    """Its end mark stays, so it is as good a prompt as a short one."""
    same = "a red ball on a white background, cartoon. " * 40
    assert torch.equal(still(pipeline, same), still(pipeline, same + "a blue star"))
