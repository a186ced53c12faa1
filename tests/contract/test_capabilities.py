from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.capabilities import Capabilities, Unsupported, resolve


def test_capabilities_survive_their_json(capabilities):
    assert capabilities == Capabilities.from_json(capabilities.to_json())


def test_what_a_newer_worker_says_is_left_out(capabilities):
    newer = capabilities.to_json().replace("{", '{"colours": 3, ', 1)
    assert capabilities == Capabilities.from_json(newer)


@given(seconds=st.floats(0.01, 10), fps=st.integers(1, 60))
def test_a_length_becomes_the_nearest_number_of_frames_that_fits(capabilities, seconds, fps):
    frames = replace(capabilities, max_frames=601).frames_for(seconds, fps)
    assert frames % 4 == 1
    assert abs(frames - seconds * fps) <= 2 or frames == 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 10.7])
def test_an_impossible_length_is_refused(capabilities, seconds):
    with pytest.raises(Unsupported) as refused:
        capabilities.frames_for(seconds, 8)
    assert refused.value.param == "seconds"


@pytest.mark.parametrize("size", [(63, 64), (8, 64), (1922, 1088), (16384, 16)])
def test_an_impossible_size_is_refused(capabilities, size):
    with pytest.raises(Unsupported) as refused:
        capabilities.check_size(*size)
    assert refused.value.param == "size"


def test_sizes_off_the_grid_are_possible(capabilities):
    capabilities.check_size(1920, 1080)
    capabilities.check_size(1080, 1920)


@pytest.mark.parametrize(
    ("modes", "given_inputs", "param"),
    [
        (("text",), {"image"}, "image"),
        (("text", "image"), {"image", "last_image"}, "last_image"),
        (("text", "first_last"), {"last_image"}, "last_image"),
        (("first_last",), {"image"}, "last_image"),
        (("image",), set(), "image"),
        (("text", "image"), {"video"}, "video"),
        (("text", "image", "edit"), {"video", "image"}, "video"),
    ],
)
def test_inputs_that_a_model_cannot_take_are_refused(capabilities, modes, given_inputs, param):
    with pytest.raises(Unsupported) as refused:
        replace(capabilities, modes=modes).check_conditioning(given_inputs)
    assert param == refused.value.param


def test_a_model_is_found_by_id_alias_or_default(capabilities):
    first = replace(capabilities, aliases=("sora-2-pro",))
    second = replace(capabilities, model_id="large")
    models = [second, first]
    assert first is resolve("tiny", models)
    assert first is resolve("sora-2-pro", models)
    assert second is resolve("sora-2", models)
    assert first is resolve(None, models, default="tiny")
    for name, served in (("unknown", models), (None, [])):
        with pytest.raises(Unsupported) as refused:
            resolve(name, served)
        assert refused.value.param == "model"
