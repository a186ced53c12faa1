from dataclasses import replace

import pytest
import torch

from model import Pipeline
from worker.abilities import capabilities_of, fitting, memory_bytes, pixels_within


def test_what_the_pipeline_says_is_registered(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "capabilities", replace(pipeline.capabilities, strength=0.6))
    able = capabilities_of(pipeline, "some-name", "cpu")
    assert (able.model_id, able.grid) == ("some-name", pipeline.capabilities.grid)
    assert able.max_pixels == pipeline.capabilities.max_pixels
    assert able.strength == 0.6
    assert set(pipeline.capabilities.modes) == set(able.modes)


@pytest.mark.parametrize("usable", [32 * 32, 480 * 480, 1000 * 1000, 3000 * 3000])
def test_the_limit_is_the_largest_size_that_fits(usable):
    found = pixels_within(usable, lambda width, height: width * height, 1920 * 1088, 16)
    assert found <= usable
    assert found == 1920 * 1088 or (found**0.5 + 16) ** 2 > usable


def test_sizes_that_do_not_fit_are_refused_and_not_offered(pipeline, monkeypatch):
    need = pipeline.memory(1280, 720, frugal=True).peak
    monkeypatch.setattr("worker.abilities.memory_bytes", lambda device: need)
    able = capabilities_of(pipeline, "m", "cpu")
    assert able.max_pixels < 1280 * 720
    assert (1280, 720) not in able.sizes
    side = int(able.max_pixels**0.5)
    assert pipeline.memory(side, side, frugal=True).peak <= need


def test_a_host_has_memory():
    assert 2**30 < memory_bytes(torch.device("cpu")) < 2**50


def test_a_gpu_short_of_memory_takes_a_narrower_vae_and_then_holds_fewer_weights(checkpoint):
    wide = Pipeline.needed(checkpoint, torch.bfloat16)
    narrow = Pipeline.needed(checkpoint, torch.bfloat16, vae_dtype=torch.bfloat16)
    for usable, expected in {
        wide: (torch.float32, False),
        wide - 1: (torch.bfloat16, False),
        narrow - 1: (torch.bfloat16, True),
    }.items():
        assert fitting(checkpoint, "cuda", torch.bfloat16, "auto", usable) == expected


def test_weights_wait_where_the_operator_says_so_and_a_vae_is_never_narrower_than_bfloat16(
    checkpoint,
):
    for how, waits in (("always", True), ("never", False)):
        assert fitting(checkpoint, "cuda", torch.float16, how, 0) == (torch.float32, waits)
        assert fitting(checkpoint, "cpu", torch.bfloat16, how, 0) == (torch.bfloat16, waits)
    assert fitting(checkpoint, "cpu", torch.float32, "auto", 0) == (torch.float32, False)
