from dataclasses import replace

import pytest
import torch

from model.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(
    num_attention_heads=3,
    attention_head_dim=20,
    in_channels=5,
    out_channels=7,
    text_dim=24,
    freq_dim=16,
    ffn_dim=52,
    num_layers=2,
)
IMAGE_CONFIG = replace(CONFIG, image_dim=14, added_kv_proj_dim=60)


def build(config):
    """A transformer whose every parameter matters."""
    generator = torch.Generator().manual_seed(0)
    module = Transformer(config)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data = noise / fan_in**0.5
    return module


@pytest.fixture(scope="module")
def transformer():
    return build(CONFIG)


def inputs(b=2, t=3, h=4, w=6, c=5):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(b, c, t, h, w, generator=generator)
    text = torch.randn(b, 8, 24, generator=generator)
    return latents, torch.linspace(900, 100, b), text


@torch.no_grad()
def test_a_velocity_has_the_latents_shape_with_the_output_channels(transformer):
    latents, timestep, text = inputs()
    assert transformer(latents, timestep, text).shape == (2, 7, 3, 4, 6)


@torch.no_grad()
def test_one_time_for_a_clip_is_that_time_for_each_of_its_frames(transformer):
    latents, timestep, text = inputs()
    per_frame = timestep[:, None].expand(-1, 3)
    expected = transformer(latents, timestep, text)
    actual = transformer(latents, per_frame, text)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_time_of_one_frame_changes_all_frames_through_attention(transformer):
    latents, _, text = inputs()
    noisy = torch.full((2, 3), 700.0)
    first_clean = noisy.clone()
    first_clean[:, 0] = 0
    difference = transformer(latents, first_clean, text) - transformer(latents, noisy, text)
    per_frame = difference.abs().amax(dim=(0, 1, 3, 4))
    assert (per_frame > 1e-3).all()
    assert per_frame[0] == per_frame.max()


@torch.no_grad()
def test_a_prepared_prompt_gives_what_its_embeddings_give(transformer):
    latents, timestep, text = inputs()
    expected = transformer(latents, timestep, text)
    context = transformer.encode_text(text)
    torch.testing.assert_close(transformer(latents, timestep, context), expected, atol=0, rtol=0)


@torch.no_grad()
def test_a_prepared_image_gives_what_its_tokens_give():
    transformer = build(IMAGE_CONFIG)
    latents, timestep, text = inputs()
    image = torch.randn(2, 9, 14)
    expected = transformer(latents, timestep, text, image)
    prepared = transformer(latents, timestep, text, transformer.encode_image(image))
    torch.testing.assert_close(prepared, expected, atol=0, rtol=0)
    assert (expected - transformer(latents, timestep, text)).abs().max() > 1e-2


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(transformer):
    latents, timestep, text = inputs()
    together = transformer(latents, timestep, text)
    for i in range(2):
        alone = transformer(latents[i : i + 1], timestep[i : i + 1], text[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)


@torch.no_grad()
def test_rope_scale_moves_rows_and_columns_but_not_a_single_token(transformer):
    latents, timestep, text = inputs()
    plain = transformer(latents, timestep, text)
    assert (transformer(latents, timestep, text, rope_scale=0.5) - plain).abs().max() > 1e-3
    one = latents[:, :, :, :2, :2]
    expected = transformer(one, timestep, text)
    torch.testing.assert_close(transformer(one, timestep, text, rope_scale=0.5), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_reaches_every_parameter(dtype):
    transformer = build(IMAGE_CONFIG).to(dtype)
    latents, _, text = inputs()
    timestep = torch.tensor([[0.0, 500.0, 500.0], [900.0, 900.0, 0.0]])
    image = torch.randn(2, 9, 14).to(dtype)
    velocity = transformer(latents.to(dtype), timestep, text.to(dtype), image)
    assert velocity.dtype == dtype
    velocity.float().square().mean().backward()
    for name, parameter in transformer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_bfloat16_on_the_cpu_stays_near_float32(transformer):
    latents, timestep, text = inputs(h=16, w=16)
    exact = transformer(latents, timestep, text)
    rounded = build(CONFIG).to(torch.bfloat16)
    actual = rounded(latents.bfloat16(), timestep, text.bfloat16()).float()
    assert (actual - exact).norm() < 3e-2 * exact.norm()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"c": 6}, "latents: must have 5 channels, not 6"),
        ({"h": 5}, "latents: h must be a multiple of 2, not 5"),
        ({"w": 7}, "latents: w must be a multiple of 2, not 7"),
    ],
)
def test_latents_that_do_not_fit_are_refused(transformer, arguments, message):
    with pytest.raises(ValueError, match=message):
        transformer(*inputs(**arguments))


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 3), (2, 3, 1)])
def test_times_that_are_neither_per_clip_nor_per_frame_are_refused(transformer, shape):
    latents, _, text = inputs()
    with pytest.raises(ValueError, match=r"timestep: must have shape \(2,\) or \(2, 3\)"):
        transformer(latents, torch.zeros(shape), text)


def test_an_image_for_a_text_only_transformer_is_refused(transformer):
    with pytest.raises(ValueError, match=r"image: .* no image branch"):
        transformer(*inputs(), torch.randn(2, 9, 14))


def test_image_tokens_that_do_not_match_the_learned_positions_are_refused():
    transformer = build(replace(IMAGE_CONFIG, pos_embed_seq_len=18))
    with pytest.raises(ValueError, match=r"18 image tokens .* not 9"):
        transformer.encode_image(torch.randn(2, 9, 14))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_head_dim": 21}, "attention_head_dim: must be even, not 21"),
        ({"freq_dim": 15}, "freq_dim: must be even, not 15"),
        ({"attention_head_dim": 4}, "attention_head_dim: must be at least 6"),
        ({"qk_norm": "layer_norm"}, "qk_norm: must be 'rms_norm_across_heads'"),
        ({"image_dim": 14}, "image_dim and added_kv_proj_dim: give both or neither"),
        ({"image_dim": 14, "added_kv_proj_dim": 14}, "added_kv_proj_dim: .* width 60, not 14"),
        ({"num_layers": 0}, "num_layers: must be at least 1, not 0"),
        ({"patch_size": (1, 2, 0)}, "patch_size: must be at least 1, not 0"),
    ],
)
def test_a_config_that_cannot_be_built_says_why(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
