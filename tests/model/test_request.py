"""What is refused, and by which field's name."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.request import Capabilities, Request, Shot
from model.resolve import resolve

ABLE = Capabilities(
    model_id="tiny",
    modes=("text", "image", "first_last", "edit", "extend", "lead_in", "loop", "storyboard"),
    grid=32,
    frame_factor=4,
    max_frames=81,
    max_pixels=1920 * 1088,
    width=320,
    height=192,
    frames=33,
    fps=16,
    steps=12,
    guidance=4.0,
    guidance_2=None,
    flow_shift=3.0,
    strength=0.7,
)
TWO_EXPERTS = replace(ABLE, guidance_2=3.0)
PICTURE = Image.new("RGB", (64, 48))
VIDEO = torch.zeros(5, 32, 48, 3, dtype=torch.uint8)


def test_only_the_prompt_is_required():
    resolved = resolve(Request("a ball"), ABLE)
    assert (
        resolved.width,
        resolved.height,
        resolved.frames,
        resolved.steps,
    ) == (320, 192, 33, 12)
    assert (
        resolved.guidance,
        resolved.guidance_2,
        resolved.fps,
        resolved.flow_shift,
        resolved.seed,
    ) == (4.0, 4.0, 16, 3.0, 0)


def test_a_guidance_given_alone_holds_for_both_experts():
    assert resolve(Request("a"), TWO_EXPERTS).guidance_2 == 3.0
    assert resolve(Request("a", guidance=6.0), TWO_EXPERTS).guidance_2 == 6.0
    assert resolve(Request("a", guidance=6.0, guidance_2=2.0), TWO_EXPERTS).guidance_2 == 2.0


def test_slow_motion_has_many_frames_a_second():
    assert resolve(Request("a", fps=120), ABLE).fps == 120


def test_a_video_says_its_own_size_and_length():
    resolved = resolve(Request("a", video=VIDEO), ABLE)
    assert (resolved.width, resolved.height, resolved.frames) == (48, 32, 5)
    assert resolved.strength == 0.7


def test_a_clip_that_goes_on_has_one_frame_less_by_default():
    assert resolve(Request("a", before=VIDEO), ABLE).frames == 32


def test_the_shots_are_the_length_and_a_prompt_alone_is_one_shot():
    shots = (Shot("a", 10), Shot("b", 11))
    resolved = resolve(Request("", shots=shots), ABLE)
    assert (resolved.frames, resolved.shots) == (21, shots)
    assert resolve(Request("a", frames=9), ABLE).shots == (Shot("a", 9),)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("prompt", [None, 3, b"a", ["a"], "\ud800"]),
        ("negative_prompt", [None, 3, "\udfff"]),
        ("width", [0, -32, 15, 1e9, "320", 320.0, True, NAN, 10**9]),
        ("height", [0, -1, 8, "192", 192.5]),
        ("frames", [0, -3, 2, 4, 85, 81.0, "81", True]),
        ("steps", [0, -1, 1001, 2.0, "12", True]),
        ("guidance", [NAN, INF, -INF, -0.1, 101, "5", True, 10**400]),
        ("guidance_2", [3.0]),
        ("seed", [-1, 2**63, 1.0, "7", True, NAN]),
        ("fps", [0, -1, 121, NAN, INF, "16"]),
        ("flow_shift", [0, -1, NAN, INF, "3"]),
        ("strength", [0.5]),
        ("image", ["picture.png", b"", torch.zeros(3, 8, 8)]),
        ("last_image", [PICTURE, "x"]),
        ("video", [[], "v.mp4", VIDEO.float(), VIDEO[0], VIDEO[..., :2]]),
        ("before", [[], "v.mp4", VIDEO.float(), VIDEO[0], VIDEO[:0]]),
        ("after", [[], VIDEO.float(), VIDEO[..., :2], VIDEO[:0]]),
        ("loop", [1, "yes", None]),
        ("shots", ["a", [Shot("a", 9)], (3,), (Shot("a", 3), Shot("b", 6)), (Shot(b"a", 9),)]),
    ],
)
def test_a_bad_value_is_refused_by_its_field(field, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{field}: "):
            resolve(Request(**{"prompt": "a"} | {field: value}), ABLE)


@pytest.mark.parametrize(
    ("named", "request_", "able"),
    [
        ("image", Request("a", image=PICTURE), replace(ABLE, modes=("text", "edit"))),
        ("image", Request("a"), replace(ABLE, modes=("image",))),
        ("last_image", Request("a", image=PICTURE), replace(ABLE, modes=("first_last",))),
        (
            "last_image",
            Request("a", image=PICTURE, last_image=PICTURE),
            replace(ABLE, modes=("image",)),
        ),
        ("last_image", Request("a", image=PICTURE, last_image=PICTURE, frames=1), ABLE),
        ("video", Request("a", video=VIDEO), replace(ABLE, modes=("text",))),
        ("video", Request("a", video=VIDEO, image=PICTURE), ABLE),
        ("video", Request("a", video=VIDEO, width=64), ABLE),
        ("video", Request("a", video=VIDEO[:4]), ABLE),
        ("before", Request("a", before=VIDEO), replace(ABLE, modes=("text",))),
        ("after", Request("a", after=VIDEO), replace(ABLE, modes=("text",))),
        ("loop", Request("a", loop=True), replace(ABLE, modes=("text",))),
        ("shots", Request("", shots=(Shot("a", 9),)), replace(ABLE, modes=("text",))),
        ("before", Request("a", before=VIDEO, image=PICTURE), ABLE),
        ("video", Request("a", video=VIDEO, after=VIDEO), ABLE),
        ("after", Request("a", after=VIDEO, image=PICTURE, last_image=PICTURE), ABLE),
        ("before", Request("a", before=VIDEO, loop=True), ABLE),
        ("loop", Request("a", loop=True, image=PICTURE, last_image=PICTURE), ABLE),
        ("frames", Request("a", before=VIDEO, frames=9), ABLE),
        ("frames", Request("a", loop=True, frames=5), ABLE),
        ("shots", Request("a", shots=(Shot("a", 9),), frames=13), ABLE),
        ("frames", Request("a", shots=(Shot("a", 8), Shot("b", 8))), ABLE),
        ("strength", Request("a", video=VIDEO, strength=0), ABLE),
        ("strength", Request("a", video=VIDEO, strength=1.1), ABLE),
        ("strength", Request("a", video=VIDEO, strength=NAN), ABLE),
        ("guidance_2", Request("a", guidance_2=-1.0), TWO_EXPERTS),
        ("width", Request("a", width=1920, height=1920), ABLE),
    ],
)
def test_what_the_checkpoint_cannot_do_is_refused(named, request_, able):
    with pytest.raises(ValueError, match=f"^{named}: "):
        resolve(request_, able)


@given(
    st.sampled_from(sorted(Request.__dataclass_fields__)), st.none() | st.integers() | st.floats()
)
def test_whatever_number_comes_it_is_taken_or_refused_by_name(field, value):
    request = Request(**{"prompt": "a"} | {field: value})
    accepted = [value] if value is not None else [None, getattr(ABLE, field, None), ABLE.guidance]
    assert outcome(request, field) in [*accepted, "refused"]


def outcome(request: Request, field: str) -> object:
    """The field's value once resolved, or "refused" if the error names it (or the whole size)."""
    try:
        return getattr(resolve(request, ABLE), field)
    except ValueError as error:
        return "refused" if str(error).startswith((f"{field}: ", "width: ")) else str(error)
