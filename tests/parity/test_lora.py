"""Merged LoRAs against diffusers: files by its own conversion, merged by hand into its modules."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from diffusers.loaders import lora_conversion_utils as conversion
from safetensors.torch import save_file

from model import Pipeline, Request
from model.checkpoint import load_transformer
from model.config import read_transformer
from model.lora import Lora

pytestmark = pytest.mark.parity

RANK, ALPHA = 3, 2.0
# Modules under Wan's names, and their sizes (out, in) in the small checkpoints.
D, FFN = 42, 52
BLOCK = {f"{kind}_attn.{name}": (D, D) for kind in ("self", "cross") for name in "qkvo"}
BLOCK |= {"ffn.0": (FFN, D), "ffn.2": (D, FFN)}
BLOCK_IMAGE = {"cross_attn.k_img": (D, D), "cross_attn.v_img": (D, D)}
OUTSIDE = {
    "time_projection.1": (6 * D, D),
    "time_embedding.0": (D, 64),
    "time_embedding.2": (D, D),
    "text_embedding.0": (D, 26),
    "text_embedding.2": (D, D),
    "head.head": (24, D),
}
OUTSIDE_IMAGE = {"img_emb.proj.1": (12, 12), "img_emb.proj.3": (D, 12)}


def blocks(image: bool) -> dict[str, tuple[int, int]]:
    parts = BLOCK | BLOCK_IMAGE if image else BLOCK
    return {f"blocks.{i}.{name}": size for i in range(2) for name, size in parts.items()}


def kohya(image: bool, seed: int) -> dict[str, torch.Tensor]:
    """What musubi-tuner writes: factors and alphas of the blocks."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (out, into) in blocks(image).items():
        key = "lora_unet_" + name.replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = torch.randn(RANK, into, generator=generator) / into
        tensors[f"{key}.lora_up.weight"] = torch.randn(out, RANK, generator=generator)
        tensors[f"{key}.alpha"] = torch.tensor(ALPHA)
    return tensors


def distilled(image: bool, seed: int) -> dict[str, torch.Tensor]:
    """What lightx2v's tools write: biases' differences too, and that of the whole head."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    inside = blocks(image)
    for name, (out, into) in (inside | OUTSIDE | (OUTSIDE_IMAGE if image else {})).items():
        key = f"diffusion_model.{name}"
        tensors[f"{key}.diff_b"] = torch.randn(out, generator=generator) / 4
        if name == "head.head":
            tensors[f"{key}.diff"] = torch.randn(out, into, generator=generator) / into
            continue
        tensors[f"{key}.lora_down.weight"] = torch.randn(RANK, into, generator=generator) / into
        tensors[f"{key}.lora_up.weight"] = torch.randn(out, RANK, generator=generator)
        if name in inside:  # diffusers reads alphas of the blocks alone
            tensors[f"{key}.alpha"] = torch.tensor(ALPHA)
    return tensors


FILES = {
    kohya: conversion._convert_musubi_wan_lora_to_diffusers,
    distilled: conversion._convert_non_diffusers_wan_lora_to_diffusers,
}


@torch.no_grad()
def merge(reference: diffusers.WanTransformer3DModel, kind, tensors, scale: float) -> None:
    """What PEFT's fusing would do; it is not installed."""
    # Of copies: the conversion scales what it is given in place.
    converted = FILES[kind]({key: tensor.clone() for key, tensor in tensors.items()})
    for key, up in converted.items():
        module, _, end = key.removeprefix("transformer.").partition(".lora_B.")
        if end == "weight":
            down = converted[key.replace("lora_B", "lora_A")]
            reference.get_submodule(module).weight += scale * up @ down
        elif end == "bias":
            reference.get_submodule(module).bias += scale * up


@torch.no_grad()
@pytest.mark.parametrize("family", ["2.1-t2v", "2.1-i2v"])
@pytest.mark.parametrize("kind", FILES)
def test_velocities_equal_those_of_diffusers_with_the_same_lora(checkpoint, tmp_path, family, kind):
    folder = checkpoint(family) / "transformer"
    reference = diffusers.WanTransformer3DModel.from_pretrained(folder)
    generator = torch.Generator().manual_seed(1)
    image = None
    if reference.config.image_dim is not None:
        image = torch.randn(2, 17, reference.config.image_dim, generator=generator)
    latents = torch.randn(2, reference.config.in_channels, 2, 6, 4, generator=generator)
    # diffusers takes the last 512 rows for text where there is an image
    text = torch.randn(2, 512, reference.config.text_dim, generator=generator)
    inputs = (latents, torch.tensor([999.0, 37.0]), text, image)
    plain = reference(*inputs).sample
    tensors = kind(image is not None, seed=2)
    merge(reference, kind, tensors, 0.7)
    expected = reference(*inputs).sample
    assert (expected - plain).std() > 0.1

    save_file(tensors, tmp_path / "lora.safetensors")
    lora = Lora(file=str(tmp_path / "lora.safetensors"), scale=0.7)
    ours = load_transformer(folder, read_transformer(folder), loras=[lora])
    torch.testing.assert_close(ours(*inputs), expected, atol=2e-5, rtol=0)


def test_frames_of_two_experts_are_those_of_diffusers_with_a_lora_each(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint("2.2-t2v-a14b"), tmp_path / "fast")
    reference = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    reference.set_progress_bar_config(disable=True)
    entries = []
    for seed, (expert, kind) in enumerate(
        {"transformer": distilled, "transformer_2": kohya}.items()
    ):
        tensors = kind(False, seed)
        merge(getattr(reference, expert), kind, tensors, 1.0)
        file = f"loras/{seed}.safetensors"
        (folder / "loras").mkdir(exist_ok=True)
        save_file(tensors, folder / file)
        entries.append({"file": file, "into": expert})
    default = {"steps": 4, "guidance": 1, "guidance_2": 1, "flow_shift": 5}
    (folder / "kinora.json").write_text(json.dumps({"loras": entries, "default": default}))

    noise = torch.randn(1, 6, 2, 4, 6, generator=torch.Generator().manual_seed(7))
    size = {"width": 48, "height": 32}
    expected = reference(
        prompt="a red ball",
        num_frames=5,
        num_inference_steps=4,
        guidance_scale=1.0,
        latents=noise.clone(),
        **size,
    ).frames[0]
    request = Request(prompt="a red ball", frames=5, **size)
    actual = torch.cat(list(Pipeline.load(folder).generate(request, noise=noise)))
    expected = torch.from_numpy(np.rint(expected * 255))
    assert expected.std() > 20
    assert (actual - expected).abs().max() <= 2
