"""Our transformer against diffusers' WanTransformer3DModel on the same random weights."""

import diffusers
import pytest
import torch

from model.checkpoint import load_transformer
from model.config import read_transformer

pytestmark = pytest.mark.parity

# All widths differ, none is a power of two; every head splits unevenly between the axes.
COMMON = {
    "num_attention_heads": 3,
    "attention_head_dim": 20,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 24,
    "freq_dim": 36,
    "ffn_dim": 52,
    "num_layers": 2,
}
IMAGE = {"in_channels": 36, "image_dim": 14, "added_kv_proj_dim": 60}
FAMILIES = {
    "2.1-t2v": {},
    "2.1-t2v-without-cross-attention-norm": {"cross_attn_norm": False},
    "2.1-i2v": IMAGE,
    "2.1-flf2v": IMAGE | {"pos_embed_seq_len": 514},
    "2.2-i2v-a14b": {"in_channels": 36},
    "2.2-ti2v": {"in_channels": 48, "out_channels": 48},
    "heads-of-128": {"num_attention_heads": 1, "attention_head_dim": 128},
}
SIZES = {"still-landscape": (1, 6, 10), "portrait": (4, 12, 6)}
TEXT_LENGTH = 512  # diffusers takes the last 512 rows for text where there is an image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`folder(family)` holds that family's random weights as diffusers saves them."""
    root = tmp_path_factory.mktemp("transformers")

    def write(family):
        path = root / family
        if not path.exists():
            torch.manual_seed(0)
            module = diffusers.WanTransformer3DModel(**(COMMON | FAMILIES[family]))
            for parameter in module.parameters():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
                torch.nn.init.normal_(parameter, std=fan_in**-0.5)
            module.save_pretrained(path)
        return path

    return write


def case(reference, size, *, per_frame):
    """Inputs for our forward, and diffusers' answer to the same question."""
    t, h, w = size
    config = reference.config
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, config.in_channels, t, h, w, generator=generator)
    text = torch.randn(2, TEXT_LENGTH, config.text_dim, generator=generator)
    text[:, 40:] = 0  # padding, which is attended to
    timestep = torch.tensor([999.0, 37.0])
    their_timestep = timestep
    if per_frame:
        timestep = torch.rand(2, t, generator=generator) * 1000
        timestep[:, 0] = 0  # a clean frame
        their_timestep = timestep.repeat_interleave(h * w // 4, dim=1)
    image = their_image = None
    if config.image_dim is not None:
        tokens = config.pos_embed_seq_len or 257
        image = torch.randn(2, tokens, config.image_dim, generator=generator)
        their_image = image.reshape(-1, 257, config.image_dim)
    dtype = reference.patch_embedding.weight.dtype
    latents, text, image, their_image = (
        x if x is None else x.to(dtype) for x in (latents, text, image, their_image)
    )
    expected = reference(latents, their_timestep, text, their_image).sample
    return (latents, timestep, text, image), expected


@torch.no_grad()
@pytest.mark.parametrize("per_frame", [False, True], ids=["one-time", "time-per-frame"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_velocities_equal_those_of_diffusers(folder, family, size, per_frame):
    reference = diffusers.WanTransformer3DModel.from_pretrained(folder(family))
    ours = load_transformer(folder(family), read_transformer(folder(family)))
    arguments, expected = case(reference, size, per_frame=per_frame)
    assert expected.std() > 0.5
    torch.testing.assert_close(ours(*arguments), expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("per_frame", [False, True], ids=["one-time", "time-per-frame"])
@pytest.mark.parametrize("family", ["2.1-i2v", "2.2-ti2v"])
def test_bfloat16_velocities_are_near_those_of_diffusers(folder, family, per_frame):
    path = folder(family)
    reference = diffusers.WanTransformer3DModel.from_pretrained(path, torch_dtype=torch.bfloat16)
    ours = load_transformer(path, read_transformer(path), dtype=torch.bfloat16)
    theirs = {name: tensor.dtype for name, tensor in reference.state_dict().items()}
    assert theirs == {name: tensor.dtype for name, tensor in ours.state_dict().items()}
    arguments, expected = case(reference, SIZES["portrait"], per_frame=per_frame)
    difference = (ours(*arguments).float() - expected.float()).norm()
    assert difference <= 2e-2 * expected.float().norm()
