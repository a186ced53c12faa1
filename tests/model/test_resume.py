"""A clip cut at any point goes on elsewhere in the same bits."""

import contextlib
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from model import Pipeline, Progress, Request, Shot, frames_done, replay


@pytest.fixture(scope="module")
def pipeline(windowed):
    return Pipeline.load(windowed)


@pytest.fixture(scope="module")
def long():
    """Frames far beyond what the VAE looks back on."""
    return torch.randint(0, 255, (245, 64, 96, 3), dtype=torch.uint8)


def watched(pipeline, request, **more) -> tuple[torch.Tensor, list[tuple[Progress, bytes]]]:
    """The frames, and every state on the way as a file would hold it."""
    states: list[tuple[Progress, bytes]] = []
    chunks = pipeline.generate(
        request, on_step=lambda p: states.append((p, save(p.state()))), **more
    )
    return torch.cat(list(chunks)), states


def rest(pipeline, request, state: bytes, **more) -> torch.Tensor:
    chunks = list(pipeline.generate(request, resume=load(state), **more))
    return torch.cat(chunks) if chunks else torch.zeros(0, dtype=torch.uint8)


PICTURE = Image.new("RGB", (96, 64), (200, 30, 30))
CLIP = torch.randint(0, 255, (9, 64, 96, 3), dtype=torch.uint8)
LARGE = {"width": 128, "height": 100}
REQUESTS = {
    "text": Request("red ball", frames=13, steps=4),
    "windows": Request("red ball", frames=37, image=PICTURE, last_image=PICTURE),
    "loop": Request("a", frames=21, loop=True),
    "shots": Request("", shots=(Shot("red ball", 8), Shot("a", 12)), before=CLIP[:5]),
    "edit": Request("a", video=CLIP.repeat(3, 1, 1, 1)[:25], strength=0.7),
    "refined": Request("a", **LARGE, frames=16, steps=1, before=CLIP, after=CLIP),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_clip_cut_anywhere_goes_on_in_the_same_bits(pipeline, request_):
    whole, states = watched(pipeline, request_)
    places = {}
    for progress, state in states:
        stage = (progress.stage, *load(state)["place"][:2].tolist())
        places.setdefault(stage, []).append(state)
    for cuts in places.values():  # in the middle of each stage of each window
        state = cuts[len(cuts) // 2]
        left = whole[frames_done(load(state)) :]
        assert torch.equal(left, rest(pipeline, request_, state))


@pytest.mark.parametrize(
    "how",
    [{}, {"width": 128, "height": 128, "frames": 277}, {"video": True, "strength": 0.5}],
    ids=["plain", "refined", "edit"],
)
def test_a_long_clip_is_gone_on_with_from_a_bounded_past(pipeline, long, how):
    request = replace(Request("a", frames=277, steps=1, guidance=1.0), **how)
    if request.video:
        request = replace(request, video=long, frames=None)
    whole, states = watched(pipeline, request)
    for cut in (-2, -14):
        state = states[cut][1]
        heard: list[Progress] = []
        chunks = list(pipeline.generate(request, resume=load(state), on_step=heard.append))
        assert torch.equal(whole[frames_done(load(state)) :], torch.cat(chunks))
        assert len(heard) < len(states) * 0.6


def test_a_shorter_past_would_not_do(pipeline, monkeypatch):
    """Otherwise the bound on it proves nothing."""
    request = Request("a", frames=277, steps=1, guidance=1.0)
    whole, states = watched(pipeline, request)
    exact = replay.decoder_history(pipeline.config.vae)
    monkeypatch.setattr(replay, "decoder_history", lambda _: exact - 6)
    state = states[-2][1]
    assert not torch.equal(whole[frames_done(load(state)) :], rest(pipeline, request, state))


@pytest.mark.parametrize(
    "more", [{"frames": 21}, {"frames": 21, "loop": True}, {"video": CLIP.repeat(3, 2, 2, 1)[:25]}]
)
def test_an_enlarged_clip_cut_anywhere_goes_on_in_the_same_bits(upsampling, more):
    pipeline = Pipeline.load(upsampling)
    size = {} if "video" in more else LARGE
    request = Request("a", **size, steps=2, **more)
    whole, states = watched(pipeline, request)
    for _, state in states[:: len(states) // 6]:
        left = whole[frames_done(load(state)) :]
        assert torch.equal(left, rest(pipeline, request, state))


def test_a_long_enlarged_clip_is_gone_on_with_from_a_bounded_past(upsampling):
    pipeline = Pipeline.load(upsampling)
    request = Request("a", width=128, height=100, frames=277, steps=1, guidance=1.0)
    whole, states = watched(pipeline, request)
    for cut in (-2, -14):
        state = states[cut][1]
        assert load(state)["base"].shape[2] < frames_done(load(state)) / 4
        assert torch.equal(whole[frames_done(load(state)) :], rest(pipeline, request, state))


def test_a_clip_may_be_cut_again_and_again(pipeline):
    """After every third piece of work that is not a repetition."""
    request = REQUESTS["windows"]
    whole, _ = watched(pipeline, request)
    made, cuts, state = torch.zeros(0, 64, 96, 3, dtype=torch.uint8), 0, None
    while len(made) < len(whole):
        heard: list[Progress] = []

        def stop(progress: Progress, heard: list[Progress] = heard) -> None:
            if progress not in heard:
                heard.append(progress)
            if len(heard) == 4:
                raise InterruptedError

        with contextlib.suppress(InterruptedError):
            for frames in pipeline.generate(request, on_step=stop, resume=state):
                made = torch.cat([made, frames])
        state, cuts = heard[-1].state(), cuts + 1
        made = made[: frames_done(state)] if len(heard) == 4 else made
    assert torch.equal(whole, made)
    assert cuts > 5


def test_counts_go_on_where_they_were(pipeline):
    request = REQUESTS["refined"]
    _, states = watched(pipeline, request)
    for progress, state in states[1::9]:
        heard: list[Progress] = []
        list(pipeline.generate(request, resume=load(state), on_step=heard.append))
        same = [p for p in heard if p.stage == progress.stage]
        assert all(p.steps == progress.steps for p in same)
        assert not same or same[0].step <= progress.step + 1
        assert heard[-1] == Progress("decode", 4, 4)


def test_given_noise_is_given_again(pipeline):
    noise = torch.randn(1, 6, 7, 4, 6, generator=torch.Generator().manual_seed(3))
    request = Request("red ball", frames=25)
    whole, states = watched(pipeline, request, noise=noise)
    _, state = states[len(states) // 2]
    left = whole[frames_done(load(state)) :]
    assert torch.equal(left, rest(pipeline, request, state, noise=noise))


def test_a_state_is_small(pipeline):
    _, states = watched(pipeline, Request("a", frames=277, steps=1, guidance=1.0))
    latents = 6 * 4 * 6 * 4  # bytes of one latent frame
    assert max(len(state) for _, state in states) < 60 * latents


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"place": torch.zeros(6)},
        {"place": torch.zeros(2), "base": torch.zeros(1), "full": torch.zeros(1)},
    ],
)
def test_what_is_no_state_is_refused(pipeline, state):
    with pytest.raises(ValueError, match=r"^resume: is not the state of a clip"):
        pipeline.generate(Request("a"), resume=state)


def test_the_state_of_another_size_is_refused(pipeline):
    _, states = watched(pipeline, Request("a", frames=5, steps=1))
    with pytest.raises(ValueError, match=r"^resume: its latents are"):
        pipeline.generate(Request("a", width=128, frames=5), resume=load(states[-1][1]))
    with pytest.raises(ValueError, match=r"^state: is not the state of a clip"):
        frames_done({})
