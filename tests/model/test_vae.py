from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save

from model import vae as vae_module
from model.resample import Upsample
from model.streaming import Stream
from model.vae import VAE, VAEConfig

WAN21 = VAEConfig(
    base_dim=6,
    z_dim=5,
    dim_mult=(1, 2, 2),
    num_res_blocks=1,
    temperal_downsample=(True, True),
    latents_mean=(0.5, -0.5, 0.0, 1.0, 2.0),
    latents_std=(1.0, 2.0, 0.5, 3.0, 1.5),
    scale_factor_spatial=4,
)
WAN22 = replace(
    WAN21,
    decoder_base_dim=7,
    is_residual=True,
    patch_size=2,
    in_channels=12,
    out_channels=12,
    scale_factor_spatial=8,
)


def build(config):
    """A VAE whose every parameter matters."""
    torch.manual_seed(0)
    module = VAE(config)
    for name, parameter in module.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        elif parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return module


@pytest.fixture(scope="module", params=[WAN21, WAN22], ids=["2.1", "2.2"])
def vae(request):
    return build(request.param)


def clip(f, h=24, w=32, b=1):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(b, 3, f, h, w, generator=generator) * 2 - 1


def latents(t, h=6, w=8, b=1):
    return torch.randn(b, 5, t, h, w, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
@pytest.mark.parametrize(("f", "t"), [(1, 1), (5, 2), (9, 3)])
def test_the_first_frame_is_a_group_of_its_own(vae, f, t):
    space = vae.config.scale_factor_spatial
    mean, logvar = vae.encode_distribution(clip(f))
    assert mean.shape == logvar.shape == (1, 5, t, 24 // space, 32 // space)
    decoded = vae.decode(mean)
    assert decoded.shape == (1, 3, f, 24, 32)
    assert decoded.abs().max() <= 1


@torch.no_grad()
@pytest.mark.parametrize("chunks", [(1, 4, 4, 4), (5, 8), (9, 4)])
def test_encoding_in_chunks_is_encoding_the_whole(vae, chunks):
    frames, stream = clip(13), Stream()
    parts = [vae.encode(part, stream) for part in frames.split(chunks, 2)]
    assert stream.frames == 4
    assert torch.equal(torch.cat(parts, 2), vae.encode(frames))


@torch.no_grad()
@pytest.mark.parametrize("chunks", [(1, 1, 1, 1), (2, 2), (1, 3)])
def test_decoding_in_chunks_is_decoding_the_whole(vae, chunks):
    z, stream = latents(4), Stream()
    parts = [vae.decode(part, stream) for part in z.split(chunks, 2)]
    assert stream.frames == 4
    assert torch.equal(torch.cat(parts, 2), vae.decode(z))


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 2, 3, 7, 13])
def test_a_clip_may_be_encoded_in_chunks_of_any_size(vae, size):
    parts = list(vae.encode_stream(clip(13).split(size, 2)))
    assert [part.shape[2] for part in parts] == [1, 1, 1, 1]
    assert torch.equal(torch.cat(parts, 2), vae.encode(clip(13)))


@torch.no_grad()
def test_frames_are_decoded_as_latents_come(vae):
    parts = list(vae.decode_stream(latents(3).split(2, 2)))
    assert [part.shape[2] for part in parts] == [1, 4, 4]
    assert torch.equal(torch.cat(parts, 2), vae.decode(latents(3)))


@torch.no_grad()
def test_a_decoder_taken_over_from_its_saved_state_gives_the_same_frames(vae):
    z, stream = latents(4), Stream()
    vae.decode(z[:, :, :2], stream)
    restored = Stream.from_tensors(load(save(stream.tensors())))
    assert torch.equal(vae.decode(z[:, :, 2:], restored), vae.decode(z[:, :, 2:], stream))


@torch.no_grad()
def test_the_state_does_not_grow_with_the_clip(vae):
    stream, sizes = Stream(), set()
    for frames in vae.decode_stream(latents(1).expand(-1, -1, 6, -1, -1).split(1, 2), stream):
        sizes.add((frames.shape[2], sum(past.nbytes for past in stream.past.values())))
    assert len({size for f, size in sizes if f == 4}) == 1


@pytest.mark.parametrize("f", [1, 5, 9])
def test_training_sees_the_same_numbers_as_inference(vae, f):
    mean, logvar = vae.encode_distribution(clip(f, b=2))
    decoded = vae.decode(mean)
    with torch.no_grad():
        expected = vae.encode_distribution(clip(f, b=2))
        torch.testing.assert_close((mean, logvar), expected, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(decoded, vae.decode(mean), atol=3e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_parameter_gets_a_finite_gradient(vae, dtype):
    module = VAE(vae.config).to(dtype)
    module.load_state_dict(vae.state_dict())
    frames = clip(9, b=2).to(dtype)
    mean, logvar = module.encode_distribution(frames)
    decoded = module.decode(mean + (logvar / 2).exp())
    assert decoded.dtype == dtype
    (decoded - frames).float().square().mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_the_gradient_is_the_slope():
    vae = build(WAN22).requires_grad_(requires_grad=False)
    z, along = latents(2, 2, 3).double(), torch.randn(1, 5, 2, 2, 3).double()
    vae.double()
    z.requires_grad_()
    vae.decode(z).square().sum().backward()
    above, below = (vae.decode(z.detach() + step * along) for step in (1e-6, -1e-6))
    rise = above.square().sum() - below.square().sum()
    assert z.grad is not None
    torch.testing.assert_close((z.grad * along).sum(), rise / 2e-6, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("tile", [(4, 11), (16, 7), (100, 100)])
def test_a_picture_decoded_in_tiles_has_no_seams(vae, tile):
    z = latents(2, 9, 23)
    tiled, whole = vae.in_tiles(tile).decode(z), vae.decode(z)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("tile", [(4, 11), (16, 7), (100, 100)])
def test_a_picture_encoded_in_tiles_is_encoded_as_a_whole(vae, tile):
    space = vae.config.scale_factor_spatial
    frames, stream = clip(9, 9 * space, 23 * space), Stream()
    parts = [vae.in_tiles(tile).encode(part, stream) for part in frames.split([5, 4], 2)]
    torch.testing.assert_close(torch.cat(parts, 2), vae.encode(frames), atol=1e-5, rtol=0)


@torch.no_grad()
def test_encoded_tiles_have_exactly_the_surroundings_they_need(vae):
    space, encoder = vae.config.scale_factor_spatial, vae.encoder
    frames, (before, after) = clip(1, 20 * space, 20 * space), encoder.reach
    whole = vae.encode(frames)
    try:
        for less in ((before - 1, after), (before, after - 1)):
            encoder.reach = less
            assert (vae.in_tiles((10, 10)).encode(frames) - whole).abs().max() > 1e-6, less
    finally:
        encoder.reach = before, after


@torch.no_grad()
def test_tiles_have_exactly_the_margin_they_need(vae):
    z, decoder = latents(1, 13, 26), vae.decoder
    whole, margins = vae.decode(z), decoder.margins
    try:
        for level in range(len(margins) - 1):
            decoder.margins = tuple(m - (i == level) for i, m in enumerate(margins))
            difference = (vae.in_tiles((13, 13)).decode(z) - whole).abs().max()
            assert difference > 1e-6, level
    finally:
        decoder.margins = margins


@torch.no_grad()
def test_tiled_streams_can_be_saved_too(vae):
    z, stream = latents(3), Stream()
    vae.in_tiles((3, 4)).decode(z[:, :, :1], stream)
    restored = Stream.from_tensors(load(save(stream.tensors())))
    expected = vae.decode(z)[:, :, 1:]
    actual = vae.in_tiles((3, 4)).decode(z[:, :, 1:], restored)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_pieces_of_a_stage_give_what_it_gives_at_once(vae, monkeypatch):
    z = latents(3)
    expected = vae.decode(z)
    monkeypatch.setattr(vae_module, "PIECE", 1)
    torch.testing.assert_close(vae.decode(z), expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_bfloat16_gives_nearly_the_same_frames(vae):
    half = VAE(vae.config).to(torch.bfloat16)
    half.load_state_dict(vae.state_dict())
    decoded = half.decode(latents(2))
    assert decoded.dtype == latents(2).dtype
    assert (decoded.float() - vae.decode(latents(2))).abs().mean() < 0.02


def test_a_doubling_convolution_is_one_over_doubled_pixels():
    torch.manual_seed(0)
    up = Upsample(6, 3, time=False)
    x = torch.randn(2, 3, 4, 5, 6)
    _, conv = up.resample
    images = x.flatten(0, 1).permute(0, 3, 1, 2)
    doubled = F.interpolate(images, scale_factor=2, mode="nearest-exact")
    expected = F.conv2d(doubled, conv.weight, conv.bias, padding=1)
    actual = up(x, Stream()).flatten(0, 1).permute(0, 3, 1, 2)
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)


def test_attention_with_a_zero_output_is_passed_by_unless_it_is_trained():
    vae = build(WAN22)
    attention = vae.decoder.mid_block.attentions[0]
    torch.nn.init.zeros_(attention.proj.weight)
    torch.nn.init.zeros_(attention.proj.bias)
    x = torch.randn(1, 1, 2, 3, 14)
    assert attention(x) is not x
    with torch.no_grad():
        assert attention(x) is x
    attention.requires_grad_(requires_grad=False)
    assert attention(x) is x


def test_normalised_latents_have_the_configured_statistics_taken_off(vae):
    z = latents(2)
    normal = vae.normalize(z)
    torch.testing.assert_close(normal[:, 1], (z[:, 1] + 0.5) / 2)
    torch.testing.assert_close(vae.denormalize(normal), z)


@pytest.mark.parametrize("f", [2, 4, 12])
def test_a_clip_must_have_4k_plus_1_frames(vae, f):
    with pytest.raises(ValueError, match=f"frames: must be 4k \\+ 1 .* not {f}"):
        vae.encode(clip(f))


@torch.no_grad()
def test_a_stream_that_ends_inside_a_group_is_refused(vae):
    with pytest.raises(ValueError, match="the last 2 of this one make no group of 4"):
        list(vae.encode_stream(clip(7).split(1, 2)))


@torch.no_grad()
def test_a_stream_goes_on_by_whole_groups(vae):
    stream = Stream()
    vae.encode(clip(1), stream)
    with pytest.raises(ValueError, match="goes on by multiples of 4 frames, not 3"):
        vae.encode(clip(3), stream)


def test_a_picture_off_the_grid_is_refused(vae):
    with pytest.raises(ValueError, match=r"frames: sides must be multiples of .*, not 30x24"):
        vae.encode(clip(1, w=30))


def test_a_residual_vae_whose_channels_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="end dim_mult with equal entries"):
        VAE(replace(WAN22, dim_mult=(1, 2, 4)))


def test_attention_at_other_scales_is_refused():
    with pytest.raises(ValueError, match="attn_scales: must be empty"):
        VAE(replace(WAN21, attn_scales=(0.5,)))


def test_tiles_are_refused_where_a_gradient_is_wanted(vae):
    tiled = vae.in_tiles((3, 4))
    for refused in (lambda: tiled.decode(latents(1)), lambda: tiled.encode(clip(1))):
        with pytest.raises(ValueError, match="tile: tiles carry no gradient"):
            refused()


def test_a_tile_without_cells_is_refused(vae):
    with pytest.raises(ValueError, match="tile: must be two positive numbers"):
        vae.in_tiles((0, 4))


def test_scale_factors_that_contradict_the_stages_are_refused():
    with pytest.raises(ValueError, match="make them 4 and 4, not 4 and 8"):
        VAE(replace(WAN21, scale_factor_spatial=8))
