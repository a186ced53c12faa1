"""The loop, its experts, its conditioning, and going on from a saved state."""

import pytest
import torch

from model.conditioning import Conditioning, clean_frames, condition_channels, encode
from model.denoise import DenoiseState, Experts, denoise
from model.guidance import guide
from model.schedule import ScheduleConfig, schedule
from model.transformer import Transformer, TransformerConfig
from model.vae import VAE, VAEConfig

SHAPE = (1, 4, 3, 4, 6)
FREE = clean_frames(SHAPE, torch.zeros(1, 4, 0, 4, 6), torch.zeros(1, 4, 0, 4, 6))
PLAN = schedule(ScheduleConfig("unipc", shift=3.0), 6)


def drift(latents, timestep):
    times = timestep.view(1, 1, -1, 1, 1) / 1000
    return torch.sin(latents * 2 + times) + times * latents.mean()


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(1)
    return VAE(VAEConfig(base_dim=4, z_dim=4, dim_mult=(1, 1, 2, 2), num_res_blocks=1,
                         latents_mean=(0.1,) * 4, latents_std=(0.5,) * 4)).eval()  # fmt: skip


@pytest.mark.parametrize("solver", ["unipc", "euler"])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_run_taken_up_in_the_middle_ends_in_the_same_bits(solver, stop):
    plan = schedule(ScheduleConfig(solver), 6)
    given, experts = FREE, Experts(drift)
    *_, expected = states = list(denoise(plan, experts, given, DenoiseState(0, torch.randn(SHAPE))))
    saved = {name: value.clone() for name, value in states[stop - 1].tensors().items()}
    *_, actual = denoise(plan, experts, given, DenoiseState.from_tensors(saved))
    assert actual.step == 6
    assert torch.equal(expected.latents, actual.latents)


def test_clean_frames_are_time_zero_to_the_model_and_never_change():
    known, seen = torch.randn(SHAPE), []
    clean = torch.tensor([True, False, True])
    given = Conditioning(clean, known)

    def field(latents, timestep):
        seen.append(timestep)
        assert torch.equal(latents[:, :, clean], known[:, :, clean])
        return drift(latents, timestep)

    *_, last = denoise(PLAN, Experts(field), given, DenoiseState(0, torch.randn(SHAPE)))
    assert torch.equal(last.latents[:, :, clean], known[:, :, clean])
    assert [[0, t, 0] for t in PLAN.timesteps.tolist()] == [t[0].tolist() for t in seen]


def test_nothing_given_means_one_time_for_all_frames():
    assert tuple(FREE.timestep(500.0).shape) == (1,)
    x = torch.randn(SHAPE)
    assert FREE.impose(x) is x
    assert FREE.model_input(x) is x


def test_the_low_noise_expert_takes_over_below_the_boundary():
    calls = []
    experts = Experts(
        lambda x, t: (calls.append(("high", t.item())), x)[1],
        lambda x, t: (calls.append(("low", t.item())), x)[1],
        boundary=PLAN.timesteps[2].item(),
    )
    list(denoise(PLAN, experts, FREE, DenoiseState(0, torch.ones(SHAPE))))
    assert [name for name, _ in calls] == ["high"] * 3 + ["low"] * 3


@torch.no_grad()
def test_condition_channels_are_mask_then_latents(vae):
    first, last = torch.rand(2, 1, 3, 1, 32, 48)
    given = condition_channels(vae, SHAPE, first, last)
    mask, latents = given.channels[0, :4, :, 0, 0], given.channels[:, 4:]
    assert mask.T.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]]
    blank = torch.zeros(1, 3, 7, 32, 48)
    whole = vae.normalize(vae.encode(torch.cat([first, blank, last], dim=2)))
    torch.testing.assert_close(latents, whole, rtol=1e-4, atol=1e-4)
    alone = condition_channels(vae, SHAPE, first, None).channels[0, :4, :, 0, 0]
    assert alone.T.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_given_latents_are_the_first_and_the_last_ones():
    first, last = torch.randn(1, 4, 1, 4, 6), torch.randn(1, 4, 1, 4, 6)
    given = clean_frames(SHAPE, first, last)
    assert given.clean.tolist() == [True, False, True]
    assert torch.equal(given.known[:, :, :1], first)
    assert torch.equal(given.known[:, :, 2:], last)


def test_the_estimate_at_a_step_is_the_data_that_its_velocity_points_to():
    x = torch.randn(SHAPE)
    first = next(denoise(PLAN, Experts(drift), FREE, DenoiseState(0, x)))
    velocity = drift(x, PLAN.timesteps[:1])
    torch.testing.assert_close(first.estimate, x - PLAN.sigmas[0] * velocity)


@torch.no_grad()
def test_a_clip_is_encoded_the_same_in_any_chunks(vae):
    clip = torch.rand(1, 3, 13, 32, 48)
    expected = vae.normalize(vae.encode(clip))
    for sizes in ([1, 4, 4, 4], [5, 8], [1, 12], [13]):
        actual = encode(vae, clip.split(sizes, dim=2))
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_guidance_in_one_pass_is_guidance_in_two():
    torch.manual_seed(2)
    transformer = Transformer(
        TransformerConfig(num_attention_heads=2, attention_head_dim=12, in_channels=4,
                          out_channels=4, text_dim=8, freq_dim=16, ffn_dim=32, num_layers=2)
    )  # fmt: skip
    prompts, latents, time = torch.randn(2, 5, 8), torch.randn(SHAPE), torch.tensor([700.0])
    one = guide(transformer, prompts, 4.0, tokens=18)
    two = guide(transformer, prompts, 4.0, tokens=10**6)
    assert (len(one.contexts), len(two.contexts)) == (1, 2)
    torch.testing.assert_close(one(latents, time), two(latents, time), rtol=1e-4, atol=1e-4)
    prompt, negative = (transformer(latents, time, row) for row in prompts.split(1))
    expected = negative + 4.0 * (prompt - negative)
    torch.testing.assert_close(one(latents, time), expected, rtol=1e-4, atol=1e-4)
    plain = guide(transformer, prompts, 1.0, tokens=18)
    torch.testing.assert_close(plain(latents, time), prompt, rtol=1e-4, atol=1e-4)
