"""Which latent frames are denoised together, whatever is asked for."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.windows import Window, plan, shot_latents

lengths = st.integers(5, 31)


@st.composite
def clips(draw):
    """Arguments of `plan` that make sense."""
    length = draw(lengths)
    after = draw(st.integers(0, 2))
    shots = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    loop = after > 0 and sum(shots) > 2 and draw(st.booleans())
    before = 0 if loop else draw(st.integers(0, 5))
    overlap = draw(st.integers(1, min(4, length - after - 1)))
    return shots, {
        "length": length,
        "overlap": overlap,
        "before": before,
        "after": after,
        "loop": loop,
    }


@given(clips())
def test_every_new_frame_is_made_once_in_order_with_the_prompt_of_its_shot(clip):
    shots, how = clip
    windows = plan(shots, **how)
    made = [
        (frame, window.prompt) for window in windows for frame in range(window.fresh, window.end)
    ]
    wanted = [shot for shot, count in enumerate(shots) for _ in range(count)]
    assert list(enumerate(wanted, how["before"])) == made
    assert windows[-1].stop == how["before"] + sum(shots) + how["after"]


@given(clips())
def test_windows_fit_and_look_back_as_far_as_they_must(clip):
    shots, how = clip
    for window in plan(shots, **how):
        assert window.stop - window.start <= how["length"]
        assert window.fresh - window.start >= min(how["overlap"], window.fresh)
        assert window.end > window.fresh


@given(clips())
def test_no_window_makes_far_less_than_another_of_its_shot(clip):
    shots, how = clip
    how |= {"after": 0, "loop": False}
    for _, group in itertools.groupby(plan(shots, **how), lambda window: window.prompt):
        counts = [w.end - w.fresh for w in group if w.fresh]
        assert max(counts, default=0) - min(counts, default=0) <= 1


@pytest.mark.parametrize("count", range(3, 60))
def test_the_last_window_of_a_loop_comes_after_what_it_leads_to(count):
    windows = plan([count], length=7, overlap=2, after=2 if count > 3 else 1, loop=True)
    assert len(windows) > 1
    assert windows[0].end >= min(3, count - 1)
    assert windows[-1].end > windows[-1].fresh


@given(st.integers(1, 300), lengths, st.integers(0, 1))
def test_windows_that_begin_anew_share_one_frame(count, length, before):
    windows = plan([count], length=length, overlap=1, before=before, anew=True)
    assert [window.anew for window in windows] == [before > 0, *[True] * (len(windows) - 1)]
    assert all(window.stop - window.start <= length for window in windows)
    for one, two in itertools.pairwise(windows):
        assert two.first == two.start == one.end - 1


def test_a_clip_of_the_trained_length_is_one_window():
    assert [Window(0, 0, 7, 7)] == plan([7], length=7, overlap=2)
    assert [Window(0, 0, 5, 7)] == plan([5], length=7, overlap=2, after=2)


@pytest.mark.parametrize("overlap", [0, 5, 9])
def test_an_overlap_that_leaves_no_room_is_refused(overlap):
    with pytest.raises(ValueError, match=r"^overlap: must be from 1 to 4"):
        plan([9], length=7, overlap=overlap, after=2)


@given(st.lists(st.integers(4, 60), min_size=1, max_size=6), st.booleans())
def test_shots_end_within_half_a_latent_frame_of_where_they_should(frames, goes_on):
    frames[-1] += -sum(frames) % 4 + (not goes_on)
    latents = shot_latents(frames, 4, goes_on=goes_on)
    assert all(latents)
    for shown, made in zip(
        itertools.accumulate(frames), itertools.accumulate(latents), strict=True
    ):
        assert abs(shown - (4 * made - 3 * (not goes_on))) <= 2
    assert sum(frames) == 4 * sum(latents) - 3 * (not goes_on)
