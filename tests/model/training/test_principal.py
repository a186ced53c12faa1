"""An autoencoder's latents along their principal components."""

import pytest
import torch

from model.training.principal import basis, turned
from model.training.train_vae import TINY_VAE
from model.vae import VAE


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(TINY_VAE).eval()


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 3, 9, 8, 8, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse.flatten(1, 2), scale_factor=8).unflatten(
        1, (3, 9)
    )


@pytest.fixture(scope="module")
def means(vae, frames) -> torch.Tensor:
    with torch.no_grad():
        return vae.encode(frames).movedim(1, 0).flatten(1)


def test_with_all_components_kept_the_decoded_frames_are_the_same(vae, frames, means):
    same = turned(vae, basis(vae, means, TINY_VAE.z_dim), evenness=0.7)
    with torch.no_grad():
        expected, found = (v.decode(v.encode(frames)) for v in (vae, same))
    assert torch.allclose(expected, found, atol=1e-4)


def test_the_components_are_uncorrelated_and_ordered_and_of_unit_power(vae, frames, means):
    fewer = turned(vae, basis(vae, means, 6), evenness=0.5)
    with torch.no_grad():
        latents = fewer.normalize(fewer.encode(frames)).movedim(1, 0).flatten(1)
    covariance = torch.cov(latents)
    deviations = covariance.diagonal().sqrt()
    correlation = covariance / deviations[:, None] / deviations
    assert (correlation - torch.eye(6)).abs().max() < 0.05
    assert (deviations.diff() < 1e-3).all()
    assert 0.9 < (latents**2).mean() < 1.1


def test_an_evenness_of_one_makes_all_channels_alike(vae, frames, means):
    even = turned(vae, basis(vae, means, 6), evenness=1.0)
    with torch.no_grad():
        latents = even.normalize(even.encode(frames)).movedim(1, 0).flatten(1)
    assert torch.allclose(latents.std(1), torch.ones(6), atol=0.05)


def test_the_posterior_of_a_turned_autoencoder_is_a_point(vae, frames, means):
    point = turned(vae, basis(vae, means, 6), evenness=0.7)
    with torch.no_grad():
        _, logvar = point.encode_distribution(frames)
    assert (logvar == -12).all()
