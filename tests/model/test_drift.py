"""Windows keep to the level of the first one."""

import pytest
import torch

from model import Pipeline, Request, drift
from model.drift import level_of, pulled


def test_what_is_pulled_has_the_level_of_the_first():
    first, other = torch.randn(1, 4, 5, 6, 8), 3 * torch.randn(1, 4, 2, 6, 8) + 1
    level = level_of(first)
    torch.testing.assert_close(level_of(pulled(other, level)), level)


def test_what_has_the_level_already_is_hardly_changed():
    latents = torch.randn(1, 4, 5, 6, 8)
    torch.testing.assert_close(pulled(latents, level_of(latents)), latents)


def test_a_channel_without_spread_stays_finite():
    level = level_of(torch.randn(1, 4, 5, 6, 8))
    assert pulled(torch.zeros(1, 4, 1, 6, 8), level).isfinite().all()


@pytest.mark.parametrize("pull", [0.0, 1.0])
def test_later_windows_of_a_clip_are_pulled(windowed, monkeypatch, pull):
    monkeypatch.setattr(drift, "PULL", pull)
    pipeline, states = Pipeline.load(windowed), []
    request = Request("red ball", frames=61)
    for _ in pipeline.generate(request, on_step=lambda p: states.append(p.state())):
        pass
    last = level_of(states[-1]["base"][:, :, -3:])
    same = torch.allclose(last, states[-1]["level"], atol=1e-3)
    assert same == (pull == 1.0)
