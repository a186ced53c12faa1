"""Our autoencoder against diffusers' AutoencoderKLWan on the same random weights."""

import diffusers
import pytest
import torch

from model.streaming import Stream
from model.vae import VAE, VAEConfig

pytestmark = pytest.mark.parity

WAN21 = {
    "base_dim": 6,
    "z_dim": 5,
    "dim_mult": [1, 2, 3, 3],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.0] * 5,
    "latents_std": [1.0] * 5,
}
RESIDUAL = {
    "is_residual": True,
    "num_res_blocks": 1,
    "scale_factor_spatial": 16,
}
FAMILIES = {
    "2.1": WAN21,
    "2.2": WAN21
    | RESIDUAL
    | {
        "decoder_base_dim": 10,
        "dim_mult": [1, 2, 4, 4],
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
    },
    "tiny": WAN21
    | RESIDUAL
    | {
        "decoder_base_dim": 9,
        "dim_mult": [1, 2, 2],
        "temperal_downsample": [True, True],
        "in_channels": 48,
        "out_channels": 48,
        "patch_size": 4,
    },
}
TOLERANCE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    """Theirs and ours with the same weights, each of which matters."""
    config = FAMILIES[request.param]
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKLWan(**config).eval()
    for name, parameter in theirs.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
    ours = VAE(VAEConfig(**fields))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def clip(f, h=32, w=48, b=2):
    return torch.rand(b, 3, f, h, w, generator=torch.Generator().manual_seed(f)) * 2 - 1


@torch.no_grad()
@pytest.mark.parametrize("f", [1, 5, 9, 13])
def test_clips_are_encoded_and_decoded_as_by_diffusers(pair, f):
    theirs, ours = pair
    posterior = theirs.encode(clip(f)).latent_dist
    mean, logvar = ours.encode_distribution(clip(f))
    torch.testing.assert_close(mean, posterior.mean, **TOLERANCE)
    torch.testing.assert_close(logvar, posterior.logvar, **TOLERANCE)
    decoded = ours.decode(posterior.mean)
    torch.testing.assert_close(decoded, theirs.decode(posterior.mean).sample, **TOLERANCE)


@torch.no_grad()
def test_streams_end_where_diffusers_does(pair):
    theirs, ours = pair
    frames = clip(13, 48, 32, 1)
    latents = torch.cat(list(ours.encode_stream(frames.split(3, 2))), 2)
    expected = theirs.encode(frames).latent_dist.mean
    torch.testing.assert_close(latents, expected, **TOLERANCE)
    decoded = torch.cat(
        list(ours.in_tiles((2, 3)).decode_stream(expected.split(1, 2), Stream())), 2
    )
    torch.testing.assert_close(decoded, theirs.decode(expected).sample, **TOLERANCE)


def test_gradients_are_those_of_diffusers(pair):
    theirs, ours = pair
    frames = clip(9, 16, 32)
    for vae in pair:
        vae.zero_grad()
    reconstructed = theirs.decode(theirs.encode(frames).latent_dist.mean).sample
    (reconstructed - frames).square().mean().backward()
    (ours.decode(ours.encode(frames)) - frames).square().mean().backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    actual = {name: p.grad for name, p in ours.named_parameters()}
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-3)
