"""LoRA files merged into a transformer's weights, in every layout that they come in."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import CheckpointError
from model.checkpoint import load_transformer
from model.lora import Lora
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
    image_dim=14,
    added_kv_proj_dim=60,
    pos_embed_seq_len=6,
)
RANK, ALPHA = 3, 1.5
#: A module of each kind: our name, and Wan's own.
MODULES = {
    "blocks.0.attn1.to_q": "blocks.0.self_attn.q",
    "blocks.1.attn1.to_k": "blocks.1.self_attn.k",
    "blocks.0.attn1.to_out.0": "blocks.0.self_attn.o",
    "blocks.0.attn2.to_v": "blocks.0.cross_attn.v",
    "blocks.1.attn2.to_out.0": "blocks.1.cross_attn.o",
    "blocks.0.attn2.add_k_proj": "blocks.0.cross_attn.k_img",
    "blocks.1.attn2.add_v_proj": "blocks.1.cross_attn.v_img",
    "blocks.0.ffn.net.0.proj": "blocks.0.ffn.0",
    "blocks.1.ffn.net.2": "blocks.1.ffn.2",
    "patch_embedding": "patch_embedding",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "proj_out": "head.head",
}
#: What has no factors, only differences.
OTHERS = {
    "blocks.0.norm2": "blocks.0.norm3",
    "blocks.1.attn1.norm_q": "blocks.1.self_attn.norm_q",
    "blocks.0.attn2.norm_k": "blocks.0.cross_attn.norm_k",
    "blocks.0.attn2.norm_added_k": "blocks.0.cross_attn.norm_k_img",
    "blocks.1.scale_shift_table": "blocks.1.modulation",
    "scale_shift_table": "head.modulation",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "condition_embedder.image_embedder.pos_embed": "img_emb.emb_pos",
}


def kohya(name: str) -> str:
    return "lora_unet_" + name.replace(".", "_")


LAYOUTS = {
    "diffusers": (lambda ours: f"transformer.{ours}", "lora_A", "lora_B"),
    "diffusers, no prefix": (lambda ours: ours, "lora_A", "lora_B"),
    "peft": (lambda ours: ours, "lora_A.default", "lora_B.default"),
    "wan": (lambda ours: f"diffusion_model.{MODULES[ours]}", "lora_down", "lora_up"),
    "wan, no prefix": (lambda ours: MODULES[ours], "lora_A", "lora_B"),
    "kohya": (lambda ours: kohya(MODULES[ours]), "lora_down", "lora_up"),
    "kohya, diffusers' names": (kohya, "lora_down", "lora_up"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("transformer")
    save_file(Transformer(CONFIG).state_dict(), path / "diffusion_pytorch_model.safetensors")
    return path


@pytest.fixture(scope="module")
def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def factors(weights) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(down, up) for each of MODULES; a convolution's have the axes of its kernel."""
    generator = torch.Generator().manual_seed(1)

    def pair(out, into, *kernel):
        down = torch.randn(RANK, into, *kernel, generator=generator)
        return down, torch.randn(out, RANK, *(1 for _ in kernel), generator=generator)

    return {module: pair(*weights[f"{module}.weight"].shape) for module in MODULES}


@pytest.fixture
def loaded(folder, tmp_path):
    """`loaded(tensors, …)` is the state dict of the transformer with these LoRAs merged."""

    def load(*files, scales=(), dtype=torch.float32, metadata=None):
        loras = []
        for number, tensors in enumerate(files):
            path = tmp_path / f"{number}.safetensors"
            save_file(tensors, path, metadata)
            loras.append(Lora(file=str(path), scale=scales[number] if scales else 1))
        return load_transformer(folder, CONFIG, dtype=dtype, loras=loras).state_dict()

    return load


def file_of(factors, layout: str, alpha: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    name, down, up = LAYOUTS[layout]
    tensors = {}
    for module, pair in factors.items():
        key = name(module)
        tensors |= {f"{key}.{down}.weight": pair[0], f"{key}.{up}.weight": pair[1]}
        if alpha is not None:
            tensors[f"{key}.alpha"] = alpha.clone()
    return tensors


def merged(weights, factors, scale: float) -> dict[str, torch.Tensor]:
    """The same by hand."""
    products = {
        f"{module}.weight": torch.einsum("or...,ri...->oi...", up, down)
        for module, (down, up) in factors.items()
    }
    return {k: w + scale * products[k] if k in products else w for k, w in weights.items()}


def same(actual, expected) -> None:
    assert actual.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(actual[key], tensor, atol=1e-5, rtol=0, msg=key)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_means_the_same_weights(loaded, weights, factors, layout):
    actual = loaded(file_of(factors, layout, torch.tensor(ALPHA)), scales=[0.7])
    same(actual, merged(weights, factors, 0.7 * ALPHA / RANK))


def test_what_no_lora_names_is_left_as_it_is(loaded, weights, factors):
    actual = loaded(file_of(factors, "wan"))
    touched = {f"{module}.weight" for module in factors}
    changed = {key for key in weights if not torch.equal(actual[key], weights[key])}
    assert changed == touched


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_untouched_weights_stay_in_the_pages_of_the_checkpoint(folder, loaded, factors):
    actual = loaded(file_of(factors, "wan"))
    spans = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if str(folder) in line
    ]
    for key, tensor in actual.items():
        mapped = any(start <= tensor.data_ptr() < end for start, end in spans)
        assert mapped == (key.removesuffix(".weight") not in factors), key


@pytest.mark.parametrize("alpha", [torch.tensor([6.0]), torch.tensor(6), None])
def test_alpha_is_the_rank_where_it_is_not_said(loaded, weights, factors, alpha):
    scale = 1 if alpha is None else 6 / RANK
    same(loaded(file_of(factors, "kohya", alpha)), merged(weights, factors, scale))


def test_the_alpha_that_diffusers_writes_beside_the_tensors_counts(loaded, weights, factors):
    said = {"transformer.r": RANK, "transformer.lora_alpha": 6, "transformer.use_rslora": False}
    metadata = {"lora_adapter_metadata": json.dumps(said)}
    actual = loaded(file_of(factors, "diffusers"), metadata=metadata)
    same(actual, merged(weights, factors, 6 / RANK))


def test_several_loras_add_up(loaded, weights, factors):
    half = dict(list(factors.items())[::2])
    actual = loaded(file_of(factors, "wan"), file_of(half, "kohya"), scales=[0.5, -2])
    same(actual, merged(merged(weights, factors, 0.5), half, -2))


def test_scale_zero_is_the_checkpoint_to_the_bit(loaded, weights, factors):
    actual = loaded(file_of(factors, "wan"), scales=[0])
    assert all(torch.equal(actual[key], weights[key]) for key in weights)


def test_weights_are_merged_before_they_are_rounded(loaded, weights, factors):
    halves = {key: tensor.bfloat16() for key, tensor in file_of(factors, "wan").items()}
    rounded = {m: tuple(f.bfloat16().float() for f in pair) for m, pair in factors.items()}
    actual = loaded(halves, dtype=torch.bfloat16)
    for key, tensor in merged(weights, rounded, 1).items():
        difference = (actual[key].float() - tensor).abs()
        assert (difference <= 2**-8 * tensor.abs() + 1e-6).all(), key  # one rounding, and no more


@pytest.mark.parametrize("names", ["diffusers", "wan"])
def test_whole_differences_are_added_to_weights_biases_and_tables(loaded, weights, names):
    expected, tensors = {}, {}
    for ours, original in (MODULES | OTHERS).items():
        name = ours if names == "diffusers" else f"diffusion_model.{original}"
        for end, suffix in (("", "diff"), (".weight", "diff"), (".bias", "diff_b")):
            if ours + end in weights:
                difference = torch.randn(weights[ours + end].shape)
                tensors[f"{name}.{suffix}"] = difference
                expected[ours + end] = weights[ours + end] + 0.5 * difference
    assert len(expected) > 40
    same(loaded(tensors, scales=[0.5]), weights | expected)


def test_lightx2vs_name_for_a_tables_difference_is_known(loaded, weights):
    ours = {"blocks.1.scale_shift_table": "blocks.1", "scale_shift_table": "head"}
    differences = {key: torch.randn(weights[key].shape) for key in ours}
    tensors = {f"diffusion_model.{ours[key]}.diff_m": d for key, d in differences.items()}
    same(loaded(tensors), weights | {k: weights[k] + d for k, d in differences.items()})


def test_the_bias_of_a_lora_is_scaled_as_its_product_is(loaded, weights, factors):
    some = {"proj_out": factors["proj_out"]}
    bias = torch.randn(weights["proj_out.bias"].shape)
    tensors = file_of(some, "diffusers", torch.tensor(ALPHA))
    actual = loaded(tensors | {"transformer.proj_out.lora_B.bias": bias})
    expected = merged(weights, some, ALPHA / RANK)
    expected["proj_out.bias"] = weights["proj_out.bias"] + ALPHA / RANK * bias
    same(actual, expected)


def test_every_weight_of_the_transformer_has_a_name_in_every_layout(loaded, weights):
    modules = {key.removesuffix(".weight").removesuffix(".bias") for key in weights}
    for rename in (lambda name: name, kohya):
        tensors = {}
        for module in modules:
            key = f"{module}.weight" if f"{module}.weight" in weights else module
            tensors[f"{rename(module)}.diff"] = torch.ones(weights[key].shape)
        actual = loaded(tensors)
        assert all(
            torch.equal(actual[k], w if k.endswith(".bias") else w + 1) for k, w in weights.items()
        )


Q = "blocks.0.self_attn.q"
DOWN, UP = torch.ones(RANK, 60), torch.ones(60, RANK)
BROKEN = {
    "no up": ({f"{Q}.lora_down.weight": DOWN}, f"{Q}.lora_down.weight needs its lora_B or lora_up"),
    "no down": ({f"{Q}.lora_B.weight": UP}, f"{Q}.lora_B.weight needs its lora_A or lora_down"),
    "alpha alone": ({f"{Q}.alpha": torch.ones(())}, f"{Q}.alpha needs its lora_B"),
    "other ranks": (
        {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": UP[:, 1:].clone()},
        rf"{Q}.lora_B.weight has shape \[60, 2\]; at rank 3 .*to_q.weight .* \[60, 3\]",
    ),
    "another width": (
        {f"{Q}.lora_A.weight": torch.ones(RANK, 61), f"{Q}.lora_B.weight": UP},
        rf"{Q}.lora_A.weight has shape \[3, 61\]; .* asks for \[3, 60\]",
    ),
    "no rank": (
        {f"{Q}.lora_A.weight": torch.ones(0, 60), f"{Q}.lora_B.weight": torch.ones(60, 0)},
        rf"{Q}.lora_A.weight has shape \[0, 60\]",
    ),
    "no matrix": (
        {f"{Q}.lora_A.weight": torch.ones(()), f"{Q}.lora_B.weight": UP},
        rf"{Q}.lora_A.weight has shape \[\]",
    ),
    "factors of a vector": (
        {
            "blocks.0.norm3.lora_A.weight": torch.ones(1, 1),
            "blocks.0.norm3.lora_B.weight": torch.ones(60, 1),
        },
        "blocks.0.norm3.lora_A.weight has shape",
    ),
    "another difference": (
        {"head.head.diff": torch.ones(60, 28)},
        r"head.head.diff has shape \[60, 28\]; proj_out.weight of transformer asks for \[28, 60\]",
    ),
    "a bias where none is": ({f"{Q[:-2]}.norm_q.diff_b": UP}, "norm_q.diff_b lands on no weight"),
    "a block too many": (
        {"transformer.blocks.2.attn1.to_q.lora_A.weight": DOWN},
        "transformer.blocks.2.attn1.to_q.lora_A.weight lands on no weight of transformer; .*model",
    ),
    "another expert's": (
        {"transformer_2.blocks.0.attn1.to_q.lora_A.weight": DOWN},
        "transformer_2.blocks.0.attn1.to_q.lora_A.weight lands on no weight of transformer",
    ),
    "another model": ({"lora_unet_double_blocks_0_q.alpha": DOWN}, "q.alpha lands on no weight"),
    "a text encoder's": (
        {"lora_te1_layers_0_q.lora_down.weight": DOWN},
        "lora_te1_layers_0_q.lora_down.weight is a text encoder's; only transformers take LoRAs",
    ),
    "not a LoRA": (
        {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": UP, f"{Q}.dora_scale": UP.clone()},
        f"{Q}.dora_scale cannot be merged; a key must end with one of .*lora_A.weight",
    ),
    "whole weights": ({f"{Q}.weight": DOWN}, f"{Q}.weight cannot be merged"),
    "integers": ({f"{Q}.diff": torch.ones(60, 60, dtype=torch.int8)}, "diff is torch.int8"),
    "said twice": (
        {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_down.weight": DOWN.clone()},
        f"says again what {Q}.lora_",
    ),
    "two alphas": (
        {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": UP, f"{Q}.alpha": torch.ones(2)},
        f"{Q}.alpha must be one finite number",
    ),
    "an endless alpha": (
        {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": UP, f"{Q}.alpha": torch.tensor(1e999)},
        f"{Q}.alpha must be one finite number",
    ),
}


def refused(load, file: Path, says: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load()
    assert str(error.value).startswith(f"{file}: ")
    assert re.search(says, str(error.value)), str(error.value)


@pytest.mark.parametrize("fault", BROKEN)
def test_what_does_not_fit_is_named_with_what_would_be_right(loaded, tmp_path, fault):
    tensors, says = BROKEN[fault]
    refused(lambda: loaded(tensors), tmp_path / "0.safetensors", says)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ('{"transformer.use_rslora": true}', "has use_rslora"),
        ('{"alpha_pattern": {"to_q": 2}}', "has alpha_pattern"),
        ('{"lora_alpha": "two"}', "is not readable"),
        ("[]", "is not readable"),
        ("{", "is not readable"),
    ],
)
def test_metadata_that_cannot_be_followed_is_refused(loaded, factors, tmp_path, said, says):
    file, metadata = file_of(factors, "diffusers"), {"lora_adapter_metadata": said}
    refused(lambda: loaded(file, metadata=metadata), tmp_path / "0.safetensors", says)


def test_a_file_that_is_missing_or_something_else_is_refused(folder, tmp_path):
    path = tmp_path / "style.safetensors"

    def load():
        load_transformer(folder, CONFIG, loras=[Lora(file=str(path))])

    refused(load, path, "missing; kinora.json names it as a LoRA")
    path.write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
    refused(load, path, "not a whole safetensors file")
