"""A clip on a device that is not the CPU. This machine may have none, so tensors without values
stand for its own (torch's FakeTensor): what would compute on two devices at once is an error.
"""

from dataclasses import fields, replace

import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

from model import Pipeline, Request, outline, rollout, sampling
from model.schedule import Schedule

#: The one kind of device that torch's fakes accept without a driver.
DEVICE = torch.device("lazy:0")
PICTURE = Image.new("RGB", (96, 64), "red")
CLIP = torch.randint(0, 255, (9, 64, 96, 3), dtype=torch.uint8)


class Number(float):
    """An element of a schedule, whose values have to be known."""

    def item(self) -> float:
        return float(self)


class Numbers(list[Number]):
    """A schedule's levels or times."""

    def tolist(self) -> list[float]:
        return [float(number) for number in self]


def known(plan: Schedule) -> Schedule:
    values = {f.name: getattr(plan, f.name) for f in fields(plan)}
    lists = {name: v.tolist() for name, v in values.items() if isinstance(v, torch.Tensor)}
    return replace(plan, **{name: Numbers(map(Number, values)) for name, values in lists.items()})


def outside(function):
    def plan(*arguments):
        with unset_fake_temporarily():
            return known(function(*arguments))

    return plan


@pytest.fixture
def elsewhere(monkeypatch):
    """Puts a pipeline on the device; gives the mode in which that computes."""
    monkeypatch.setattr(FakeTensor, "__bool__", lambda _: True)
    monkeypatch.setattr(FakeTensor, "__int__", lambda _: 1)
    for module in (outline, rollout, sampling):
        for name in ("planned", "refine_plan"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, outside(getattr(module, name)))
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def put(pipeline: Pipeline) -> FakeTensorMode:
        with mode:
            for part in (pipeline._text, pipeline._vae, *pipeline._transformers):
                for module in part.modules():
                    for name, value in list(module.named_parameters(recurse=False)):
                        there = mode.from_tensor(value).to(DEVICE)
                        module.register_parameter(name, torch.nn.Parameter(there, False))
                    for name, value in list(module.named_buffers(recurse=False)):
                        module.register_buffer(name, mode.from_tensor(value).to(DEVICE))
        pipeline._device = DEVICE
        return mode

    return put


@pytest.mark.parametrize(
    "request_",
    [
        Request("a", frames=17, steps=2, image=PICTURE, last_image=PICTURE),
        Request("a", video=CLIP, strength=0.7, steps=2),
        Request("a", width=128, height=100, frames=8, steps=1, before=CLIP, after=CLIP),
    ],
    ids=["ends", "edit", "refined"],
)
def test_all_that_a_clip_computes_with_is_on_its_device(windowed, elsewhere, request_):
    pipeline = Pipeline.load(windowed)
    heard = lambda progress: (progress.preview and progress.preview(), progress.state())
    with elsewhere(pipeline):
        chunks = list(pipeline.generate(request_, on_step=heard))
    assert {chunk.device.type for chunk in chunks} == {"cpu"}


def test_so_is_what_goes_on_from_a_saved_state(windowed, elsewhere):
    loop, states = Request("a", frames=21, steps=1, loop=True), []
    list(Pipeline.load(windowed).generate(loop, on_step=lambda p: states.append(p.state())))
    early = next(state for state in states if 0 < len(state.get("opening", ())) < 8)
    pipeline = Pipeline.load(windowed)
    with elsewhere(pipeline):
        assert list(pipeline.generate(loop, resume=early))
