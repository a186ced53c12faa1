"""Long clips, and clips that go on from, lead to or return to given frames."""

import pytest
import torch
from PIL import Image

from model import Pipeline, Progress, Request, Shot, frames_done, outline
from model.canvas import from_uint8, to_uint8
from model.resolve import resolve
from model.seams import FADE


@pytest.fixture(scope="module")
def pipeline(windowed):
    return Pipeline.load(windowed)


@pytest.fixture(scope="module")
def clip(pipeline):
    return frames(pipeline, Request("red ball", frames=21, seed=9))


def frames(pipeline, request, **more) -> torch.Tensor:
    return torch.cat(list(pipeline.generate(request, **more)))


def noise(t: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, 6, t, 4, 6, generator=torch.Generator().manual_seed(seed))


def last_latents(pipeline, request) -> torch.Tensor:
    """The latents that a clip ends with, as they were denoised."""
    states = []
    frames(pipeline, request, on_step=lambda p: states.append(p.state()))
    return states[-1]["base"]


def test_a_long_clip_begins_with_its_first_window_alone(pipeline):
    long = frames(pipeline, Request("red ball", frames=25), noise=noise(7))
    short = frames(pipeline, Request("red ball", frames=13), noise=noise(7)[:, :, :4])
    assert (25, 64, 96, 3) == tuple(long.shape)
    assert torch.equal(long[:13], short)


def test_the_first_windows_seed_is_that_of_a_short_clip(pipeline):
    long = frames(pipeline, Request("red ball", frames=25, seed=4))
    assert torch.equal(long[:13], frames(pipeline, Request("red ball", frames=13, seed=4)))


def test_a_window_goes_on_from_the_one_before(pipeline):
    other = noise(7)
    other[:, :, 0] += 1
    first = frames(pipeline, Request("red ball", frames=25), noise=noise(7))
    second = frames(pipeline, Request("red ball", frames=25), noise=other)
    assert not torch.equal(first[13:], second[13:])


def test_all_frames_of_a_window_come_before_the_next_is_begun(pipeline):
    heard: list[Progress | int] = []
    chunks = pipeline.generate(Request("a", frames=25, steps=2), on_step=heard.append)
    heard.extend(len(chunk) for chunk in chunks)
    first = heard.index(Progress("denoise", 3, 4))
    assert 13 == sum(event for event in heard[:first] if isinstance(event, int))
    assert heard[-2:] == [Progress("decode", 7, 7), 4]


def test_the_frames_of_a_long_clip_are_those_of_one_decode(pipeline):
    """The decoder's history goes on from window to window."""
    request = Request("red ball", frames=41)
    actual = frames(pipeline, request)
    latents = last_latents(pipeline, request)
    assert latents.shape[2] == 11
    vae = pipeline._vae
    with torch.no_grad():
        assert torch.equal(to_uint8(vae.decode(vae.denormalize(latents))), actual)


def test_a_clip_goes_on_from_the_latents_of_the_frames_before_it(pipeline, clip):
    request = Request("red ball", frames=8, before=clip)
    assert tuple(frames(pipeline, request).shape) == (8, 64, 96, 3)
    vae = pipeline._vae
    with torch.no_grad():
        known = vae.normalize(vae.encode(from_uint8(clip[-17:])))
    torch.testing.assert_close(last_latents(pipeline, request)[:, :, :5], known)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 16, 21])
def test_any_number_of_frames_is_gone_on_from(pipeline, clip, count):
    chunks = list(pipeline.generate(Request("a", frames=12, before=clip[:count], steps=1)))
    assert [4, 4, 4] == [len(chunk) for chunk in chunks]


@pytest.mark.parametrize("count", [1, 3, 4, 9, 21])
def test_a_clip_leads_to_any_number_of_frames(pipeline, clip, count):
    request = Request("a", frames=17, after=clip[:count], steps=2)
    plain = frames(pipeline, Request("a", frames=17, steps=2))
    made = frames(pipeline, request)
    assert made.shape == plain.shape
    assert not torch.equal(plain[-1], made[-1])


def test_only_the_frames_near_given_ones_differ_from_what_was_decoded(pipeline, clip):
    """They have some of the detail of those beside them."""
    request = Request("red ball", frames=24, before=clip, after=clip, steps=2)
    made, latents = frames(pipeline, request), last_latents(pipeline, request)
    vae = pipeline._vae
    with torch.no_grad():
        decoded = to_uint8(vae.decode(vae.denormalize(latents)))[-24:]
    changed = (made != decoded).flatten(1).any(1)
    assert changed[:FADE].any() and changed[-FADE:].any()
    assert not changed[FADE:-FADE].any()


def test_frames_of_another_size_are_enlarged_or_shrunk(pipeline, clip):
    small = clip[:, ::2, ::2]
    made = frames(pipeline, Request("a", frames=8, before=small, after=small, steps=1))
    assert tuple(made.shape) == (8, 64, 96, 3)


@pytest.mark.parametrize("count", [9, 13, 17, 25])
def test_a_loop_depends_on_its_own_beginning(pipeline, count):
    loop = frames(pipeline, Request("a", frames=count, loop=True))
    plain = frames(pipeline, Request("a", frames=count))
    assert loop.shape == plain.shape
    assert not torch.equal(plain[-4:], loop[-4:])


def test_shots_take_their_prompts_one_after_the_other(pipeline):
    shots = (Shot("red ball", 13), Shot("blue", 12))
    story = frames(pipeline, Request("", shots=shots))
    first = frames(pipeline, Request("red ball", frames=25))
    assert torch.equal(first[:13], story[:13])
    assert not torch.equal(first[13:], story[13:])
    same = (Shot("red ball", 13), Shot("red ball", 12))
    assert torch.equal(first, frames(pipeline, Request("ignored", shots=same)))


def test_a_first_and_a_last_picture_stay_at_the_ends_of_a_long_clip(pipeline):
    blank = Image.new("RGB", (96, 64), (200, 30, 30))
    plain = Request("red ball", frames=25, image=blank)
    both = Request("red ball", frames=25, image=blank, last_image=blank)
    with_last, without = frames(pipeline, both), frames(pipeline, plain)
    assert torch.equal(with_last[:1], without[:1])
    assert not torch.equal(with_last[-4:], without[-4:])


def test_a_long_edit_with_little_noise_is_nearly_its_source(pipeline):
    source = frames(pipeline, Request("a", frames=33, seed=5))
    vae = pipeline._vae
    with torch.no_grad():
        seen = to_uint8(vae.decode(vae.encode(from_uint8(source))))

    def distance(strength):
        edited = frames(pipeline, Request("b", video=source, strength=strength, steps=10))
        assert edited.shape == source.shape
        return (edited.float() - seen.float()).square().mean()

    assert distance(0.1) < distance(1.0) / 2


def test_a_large_clip_is_refined_window_by_window(pipeline, clip):
    heard: list[Progress] = []
    request = Request("a", width=200, height=130, frames=20, before=clip, after=clip, steps=2)
    made = frames(pipeline, request, on_step=heard.append)
    assert tuple(made.shape) == (20, 130, 200, 3)
    denoise = [p for p in heard if p.stage == "denoise"]
    steps = [p.step for p in denoise]
    assert sorted(steps) == steps
    assert set(range(1, denoise[0].steps + 1)) == set(steps)


def test_a_preview_is_a_picture_of_the_size(pipeline):
    heard: list[Progress] = []
    frames(pipeline, Request("a", width=90, height=60, steps=3), on_step=heard.append)
    previews = [p.preview() for p in heard if p.stage == "denoise"]
    assert [(60, 90, 3)] * 3 == [tuple(picture.shape) for picture in previews]
    assert all(p.preview is None for p in heard if p.stage != "denoise")


def test_what_is_kept_does_not_grow_with_the_clip(windowed):
    pipeline = Pipeline.load(windowed)
    sizes = []
    request = Request("a", frames=401, steps=1, guidance=1.0)
    frames(
        pipeline,
        request,
        on_step=lambda p: sizes.append(sum(t.nbytes for t in p.state().values())),
    )
    assert max(sizes) <= 1.05 * max(sizes[: len(sizes) // 2])


@pytest.fixture(scope="module")
def channels(by_channels):
    return Pipeline.load(by_channels)


def test_without_times_for_each_frame_a_window_goes_on_from_the_last_picture(channels):
    request = Request("a", frames=25, image=Image.new("RGB", (96, 64), (9, 99, 200)), seed=2)
    states = []
    chunks = list(channels.generate(request, on_step=lambda p: states.append(p.state())))
    made = torch.cat(chunks)
    assert [1, *[4] * 6] == [len(chunk) for chunk in chunks]
    # Each window but the first is a clip of its own that begins with the picture before it.
    begun = next(s for s in states if s["place"][0] == 1)
    assert torch.equal(begun["picture"][0], made[frames_done(begun) - 1])
    assert begun["base"].shape[2] == 4


@pytest.mark.parametrize("beyond", [4, 8, 12])
def test_a_clip_of_pictures_just_longer_than_a_window_has_room_to_lead_to_its_last(
    channels, beyond
):
    length = channels.config.window_latents
    picture = Image.new("RGB", (96, 64))
    frames = (length - 1) * 4 + 1 + beyond
    request = Request("a", frames=frames, image=picture, last_image=picture)
    planned = outline.windows(resolve(request, channels.capabilities), channels.config)
    assert planned[-1].end - planned[-1].start == length
    assert [planned[-1].end, planned[0].start] == [sum(w.end - w.fresh for w in planned), 0]


def test_a_clip_of_pictures_goes_on_from_the_last_of_the_frames_before(channels, clip):
    request = Request("a", frames=16, before=clip, seed=3)
    made = frames(channels, request)
    same = frames(channels, Request("a", frames=16, before=clip[-1:], seed=3))
    assert torch.equal(made, same)
    assert not torch.equal(made, frames(channels, Request("a", frames=16, before=clip[:1], seed=3)))


def test_a_clip_of_pictures_is_resumed_in_the_same_bits(channels, clip):
    request = Request("a", frames=28, before=clip, seed=3)
    states = []
    made = frames(channels, request, on_step=lambda p: states.append(p.state()))
    for state in states[2::5]:
        chunks = list(channels.generate(request, resume=state))
        assert torch.equal(made[frames_done(state) :], torch.cat(chunks))


def test_what_a_checkpoint_cannot_go_on_from_is_refused(channels, clip):
    for field, request in {
        "after": Request("a", after=clip, before=clip, frames=8),
        "loop": Request("a", loop=True, image=Image.new("RGB", (96, 64))),
        "image": Request("a"),
    }.items():
        with pytest.raises(ValueError, match=rf"^{field}: "):
            channels.generate(request)


def test_a_frugal_clip_is_the_same_up_to_rounding(pipeline, clip, monkeypatch):
    monkeypatch.setattr("model.pipeline.FRUGAL_TILE", (2, 3))
    request = Request("a", frames=8, before=clip, steps=1)
    plain, frugal = frames(pipeline, request), frames(pipeline, request, frugal=True)
    assert (plain.int() - frugal.int()).abs().max() <= 2
    assert pipeline.memory(1920, 1080, frugal=True).peak <= pipeline.memory(1920, 1080).peak


def test_a_last_picture_ends_the_clip_and_none_of_its_windows_before(by_channels):
    pipeline = Pipeline.load(by_channels)
    start, end = (Image.new("RGB", (96, 64), colour) for colour in ("red", "blue"))
    plain = Request("red ball", frames=25, image=start, seed=3)
    led = Request("red ball", frames=25, image=start, last_image=end, seed=3)
    without, with_it = (frames(pipeline, request) for request in (plain, led))
    assert torch.equal(without[:13], with_it[:13])
    assert not torch.equal(without[13:], with_it[13:])
