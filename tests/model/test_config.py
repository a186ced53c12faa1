import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from model.config import CheckpointError, read_config
from model.lora import Lora

TRANSFORMER = {
    "_class_name": "WanTransformer3DModel",
    "_diffusers_version": "0.42.1",
    "a_key_of_the_future": {"x": 1},
    "patch_size": [1, 2, 2],
    "num_attention_heads": 3,
    "attention_head_dim": 20,
    "in_channels": 6,
    "out_channels": 6,
    "text_dim": 24,
    "freq_dim": 36,
    "ffn_dim": 52,
    "num_layers": 2,
    "rope_max_seq_len": 1024,
}
IMAGE = {"in_channels": 16, "image_dim": 14, "added_kv_proj_dim": 60}
IMAGE_KEY = "condition_embedder.image_embedder.norm1.weight"
VAE = {
    "_class_name": "AutoencoderKLWan",
    "z_dim": 6,
    "latents_mean": [0] * 6,
    "latents_std": [1.0] * 6,
}
SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 5.0,
}
KINORA = {
    "model_id": "kinora-tiny",
    "max_sequence_length": 64,
    "default": {
        "width": 448,
        "height": 256,
        "frames": 33,
        "steps": 12,
        "flow_shift": 2.5,
        "strength": 0.6,
    },
    "train_grid": [8, 14],
    "refine": {"steps": 3},
}


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


@pytest.fixture
def folder(tmp_path):
    """`folder(...)` writes the JSON files of a checkpoint, and weights with the named keys only."""

    def make(*, index=(), transformer=(), transformer_2=None, vae=(), scheduler=(), keys=()):
        root = tmp_path / "some-wan"
        experts = {"transformer": transformer, "transformer_2": transformer_2}
        names = {
            name: [None, None] if part is None else ["diffusers", "WanTransformer3DModel"]
            for name, part in experts.items()
        }
        write(root / "model_index.json", {"_class_name": "WanPipeline"} | names | dict(index))
        for name, part in experts.items():
            if part is not None:
                write(root / name / "config.json", TRANSFORMER | dict(part))
                tensors = {key: torch.zeros(1) for key in ("proj_out.bias", *keys)}
                save_file(tensors, root / name / "diffusion_pytorch_model.safetensors")
        write(root / "vae" / "config.json", VAE | dict(vae))
        write(root / "scheduler" / "scheduler_config.json", SCHEDULER | dict(scheduler))
        return root

    return make


EXPERTS = {"index": {"boundary_ratio": 0.875}, "transformer_2": {}}
FAMILIES = {
    "wan2.1-t2v": ({}, ("text",), 50, 5.0, None),
    "wan2.1-i2v": ({"transformer": IMAGE, "keys": [IMAGE_KEY]}, ("image",), 40, 5.0, None),
    "wan2.1-flf2v": (
        {"transformer": IMAGE | {"pos_embed_seq_len": 514}, "keys": [IMAGE_KEY]},
        ("first_last",),
        50,
        5.0,
        None,
    ),
    "wan2.2-t2v": (EXPERTS, ("text",), 40, 4.0, 3.0),
    "wan2.2-i2v": (
        EXPERTS | {"transformer": {"in_channels": 16}, "transformer_2": {"in_channels": 16}},
        ("image", "first_last"),
        40,
        3.5,
        3.5,
    ),
    "wan2.2-ti2v": (
        {"index": {"expand_timesteps": True}},
        ("text", "image", "first_last", "frames"),
        50,
        5.0,
        None,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_checkpoint_can_do_follows_from_its_structure(folder, family):
    parts, modes, steps, guidance, guidance_2 = FAMILIES[family]
    config = read_config(folder(**parts))
    assert config.family == family
    assert config.modes == modes
    assert (config.transformer_2 is None) == (guidance_2 is None)
    defaults = config.defaults
    assert (defaults.steps, defaults.guidance, defaults.guidance_2) == (steps, guidance, guidance_2)


def test_sizes_come_from_the_files_and_unknown_keys_are_left_alone(folder):
    config = read_config(folder(vae={"scale_factor_spatial": 16}))
    assert config.model_id == "some-wan"
    assert config.transformer.width == 60
    assert config.transformer.patch_size == (1, 2, 2)
    assert config.vae.latents_std == (1.0,) * 6
    assert config.schedule.shift == 5.0
    assert config.grid == (32, 32)
    assert config.text_length == 512
    assert config.train_grid is None


def test_an_image_branch_that_the_weights_do_not_have_is_not_believed(folder):
    lies = {"image_dim": 1280, "added_kv_proj_dim": 60, "pos_embed_seq_len": 514}
    config = read_config(folder(index={"expand_timesteps": True}, transformer=lies))
    assert config.family == "wan2.2-ti2v"
    assert config.transformer.image_dim is None
    assert config.transformer.added_kv_proj_dim is None
    assert config.transformer.pos_embed_seq_len is None


def test_a_second_expert_that_is_never_switched_to_is_not_read(folder):
    config = read_config(folder(transformer_2={"num_layers": "broken"}))
    assert config.transformer_2 is None
    assert config.family == "wan2.1-t2v"


def test_kinora_json_has_the_last_word_on_use_but_not_on_sizes(folder):
    root = folder(index={"expand_timesteps": True})
    plain = read_config(root)
    write(root / "kinora.json", KINORA)
    config = read_config(root)
    assert config.model_id == "kinora-tiny"
    assert config.text_length == 64
    assert config.schedule == replace(plain.schedule, shift=2.5)
    assert config.defaults == replace(
        plain.defaults, width=448, height=256, frames=33, steps=12, strength=0.6
    )
    assert config.train_grid == (8, 14)
    assert config.refine == {"steps": 3}
    assert config.transformer == plain.transformer


def test_kinora_json_names_loras_relative_to_its_folder(folder):
    root = folder(**EXPERTS)
    loras = [{"file": "loras/a.safetensors"},
             {"file": "/elsewhere/b.safetensors", "into": "transformer_2", "scale": 2}]  # fmt: skip
    write(root / "kinora.json", KINORA | {"loras": loras})
    assert read_config(root).loras == (
        Lora(file=str(root / "loras/a.safetensors"), into="transformer", scale=1),
        Lora(file="/elsewhere/b.safetensors", into="transformer_2", scale=2),
    )


BROKEN = {
    "no model_index": ("model_index.json", None, "missing"),
    "not json": ("transformer/config.json", "{", "not readable as JSON"),
    "not an object": ("vae/config.json", "[]", "must hold a JSON object, not a list"),
    "other pipeline": ("model_index.json", {"_class_name": "FluxPipeline"}, "'FluxPipeline'"),
    "other transformer": (
        "transformer/config.json",
        TRANSFORMER | {"_class_name": "WanVACETransformer3DModel"},
        "must be WanTransformer3DModel",
    ),
    "other vae": ("vae/config.json", VAE | {"_class_name": "AutoencoderKL"}, "AutoencoderKLWan"),
    "other scheduler": (
        "scheduler/scheduler_config.json",
        SCHEDULER | {"_class_name": "DDIMScheduler"},
        "'DDIMScheduler'",
    ),
    "wrong type": (
        "transformer/config.json",
        TRANSFORMER | {"num_layers": "two"},
        "num_layers is 'two'; it must be int",
    ),
    "truth as a number": (
        "transformer/config.json",
        TRANSFORMER | {"num_layers": True},
        "num_layers is True; it must be int",
    ),
    "wrong length": (
        "transformer/config.json",
        TRANSFORMER | {"patch_size": [2, 2]},
        r"patch_size is \[2, 2\]; it must be tuple\[int, int, int\]",
    ),
    "wrong element": ("vae/config.json", VAE | {"dim_mult": [1, "x"]}, "dim_mult is"),
    "impossible head": (
        "transformer/config.json",
        TRANSFORMER | {"attention_head_dim": 21},
        "attention_head_dim: must be even",
    ),
    "latents of another vae": ("vae/config.json", VAE | {"z_dim": 7}, "out_channels is 6; .* 7"),
    "odd channels": (
        "transformer/config.json",
        TRANSFORMER | {"in_channels": 9},
        "in_channels is 9; .* must be 6 or 16",
    ),
    "an unknown word": (
        "kinora.json",
        KINORA | {"lora": []},
        "lora is none of its keys: model_id,",
    ),
    "an unknown default": (
        "kinora.json",
        KINORA | {"default": {"guidence": 1.0}},
        "default: guidence is none of its keys: .*guidance, .*, flow_shift",
    ),
    "bad own words": ("kinora.json", KINORA | {"default": {"steps": "many"}}, "steps is 'many'"),
    "bad grid": ("kinora.json", KINORA | {"train_grid": [8]}, "train_grid"),
    **{
        name: ("kinora.json", KINORA | {"loras": loras}, message)
        for name, loras, message in (
            ("loras in no list", {"file": "a"}, "loras is {'file': 'a'}"),
            ("a lora that is a name", ["a"], r"loras is \['a'\]"),
            ("a lora without a file", [{"scale": 1}], "loras: an entry needs 'file'"),
            ("a lora with more", [{"file": "a", "weight": 1}], "loras: weight is none of its keys"),
            ("a file that is none", [{"file": 7}], "loras: file is 7; it must be str"),
            ("a lora of another part", [{"file": "a", "into": "vae"}], "loras: into is 'vae'"),
            ("a lora into nothing", [{"file": "a", "into": "transformer_2"}], "not use; into must"),
            ("a scale in words", [{"file": "a", "scale": "1"}], "loras: scale is '1'"),
            ("a truth as a scale", [{"file": "a", "scale": True}], "loras: scale is True"),
            ("no scale", [{"file": "a", "scale": float("nan")}], "scale: must be a finite number"),
            ("an endless scale", [{"file": "a", "scale": float("inf")}], "must be a finite number"),
        )
    },
    "bad mode": ("kinora.json", KINORA | {"modes": ["smell"]}, "modes"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_named_with_what_would_be_right(folder, fault):
    name, content, message = BROKEN[fault]
    root = folder()
    if content is None:
        (root / name).unlink()
    else:
        write(root / name, content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_config(root)
    wrong_file = "transformer/config.json" if fault == "latents of another vae" else name
    assert str(error.value).startswith(str(root / wrong_file))


def test_a_boundary_without_a_second_expert_is_refused(folder):
    with pytest.raises(CheckpointError, match="boundary_ratio needs a transformer_2"):
        read_config(folder(index={"boundary_ratio": 0.9}))


def test_the_second_experts_channels_are_checked_too(folder):
    parts = EXPERTS | {"transformer_2": {"out_channels": 8}}
    with pytest.raises(CheckpointError, match=r"transformer_2.config.json: out_channels is 8"):
        read_config(folder(**parts))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        read_config(tmp_path / "nowhere")
