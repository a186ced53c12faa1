import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.checkpoint import CheckpointError, load_transformer, load_vae
from model.transformer import FLOAT32_MODULES, Transformer, TransformerConfig
from model.vae import VAE, VAEConfig

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
STEM = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return {key: tensor.clone() for key, tensor in Transformer(CONFIG).state_dict().items()}


@pytest.fixture
def single(tmp_path, weights):
    save_file(weights, tmp_path / f"{STEM}.safetensors")
    return tmp_path


@pytest.fixture
def sharded(tmp_path, weights):
    """The same weights in two shards with an index."""
    keys, weight_map = sorted(weights), {}
    for i, part in enumerate((keys[::2], keys[1::2]), start=1):
        name = f"{STEM}-{i:05d}-of-00002.safetensors"
        save_file({key: weights[key] for key in part}, tmp_path / name)
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (tmp_path / f"{STEM}.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


@pytest.mark.parametrize("layout", ["single", "sharded"])
def test_weights_are_loaded_exactly(request, weights, layout):
    module = load_transformer(request.getfixturevalue(layout), CONFIG)
    assert module.state_dict().keys() == weights.keys()
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, weights[key]), key
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())


def test_loaded_in_bfloat16_norms_tables_and_time_embedder_stay_float32(single):
    module = load_transformer(single, CONFIG, dtype=torch.bfloat16)
    for name, parameter in module.named_parameters():
        kept = any(part in FLOAT32_MODULES for part in name.split("."))
        assert parameter.dtype == (torch.float32 if kept else torch.bfloat16), name


def test_half_precision_weights_run_in_float32_when_asked_to(tmp_path, weights):
    halves = {key: tensor.half() for key, tensor in weights.items()}
    save_file(halves, tmp_path / f"{STEM}.safetensors")
    module = load_transformer(tmp_path, CONFIG, dtype=torch.float32)
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("is_residual", [False, True])
def test_a_vae_is_loaded_exactly(tmp_path, is_residual):
    config = VAEConfig(base_dim=4, dim_mult=(1, 1, 2, 2), num_res_blocks=1, is_residual=is_residual)
    written = VAE(config).state_dict()
    save_file(written, tmp_path / f"{STEM}.safetensors")
    loaded = load_vae(tmp_path, config).state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in written.items())


def test_the_original_checkpoints_unused_norm_is_ignored(single, weights):
    unused = {"blocks.0.attn2.norm_added_q.weight": torch.ones(60)}
    save_file(weights | unused, single / f"{STEM}.safetensors")
    load_transformer(single, CONFIG)


def refused(folder, *, file, says):
    with pytest.raises(CheckpointError) as error:
        load_transformer(folder, CONFIG)
    assert str(error.value).startswith(str(folder / file))
    assert re.search(says, str(error.value)), str(error.value)


def test_a_missing_key_is_named(single, weights):
    rest = {key: tensor for key, tensor in weights.items() if key != "proj_out.bias"}
    save_file(rest, single / f"{STEM}.safetensors")
    refused(single, file="", says="lacks proj_out.bias")


def test_many_missing_keys_are_counted(single):
    save_file({"proj_out.bias": torch.zeros(28)}, single / f"{STEM}.safetensors")
    refused(single, file="", says=r"lacks blocks\.0\.attn1\.norm_k\.weight, .* and \d+ more")


def test_an_extra_key_is_named(single, weights):
    extra = {"blocks.2.ffn.net.2.bias": torch.zeros(60)}
    save_file(weights | extra, single / f"{STEM}.safetensors")
    refused(single, file=f"{STEM}.safetensors", says=r"beyond .* blocks\.2\.ffn\.net\.2\.bias")


def test_a_wrong_shape_is_named_with_the_right_one(single, weights):
    wrong = {"proj_out.weight": torch.zeros(28, 61)}
    save_file(weights | wrong, single / f"{STEM}.safetensors")
    says = r"proj_out.weight has shape \[28, 61\].* asks for \[28, 60\]"
    refused(single, file=f"{STEM}.safetensors", says=says)


def test_weights_that_are_not_floating_point_are_refused(single, weights):
    quantised = {"proj_out.weight": torch.zeros(28, 60, dtype=torch.int8)}
    save_file(weights | quantised, single / f"{STEM}.safetensors")
    refused(single, file=f"{STEM}.safetensors", says="'proj_out.weight' is I8; .* BF16")


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_truncated_file_is_refused(single, kept):
    path = single / f"{STEM}.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    refused(single, file=path.name, says="not a whole safetensors file")


def test_a_file_that_is_something_else_is_refused(single):
    (single / f"{STEM}.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
    refused(single, file=f"{STEM}.safetensors", says="not a whole safetensors file")


def test_a_missing_shard_is_named(sharded):
    shard = sharded / f"{STEM}-00002-of-00002.safetensors"
    shard.unlink()
    refused(sharded, file=shard.name, says="missing; .* lists it")


def test_a_shard_without_a_key_that_the_index_lists_is_named(sharded, weights):
    shard = sharded / f"{STEM}-00001-of-00002.safetensors"
    rest = sorted(weights)[2::2]
    save_file({key: weights[key] for key in rest}, shard)
    refused(sharded, file=shard.name, says=f"lacks '{min(weights)}'")


def test_a_shard_with_a_key_of_another_is_named(sharded, weights):
    shard = sharded / f"{STEM}-00001-of-00002.safetensors"
    stray = sorted(weights)[1]
    keys = [*sorted(weights)[::2], stray]
    save_file({key: weights[key] for key in keys}, shard)
    refused(sharded, file=shard.name, says=f"holds '{stray}'")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": []}'])
def test_an_unusable_index_is_named(sharded, text):
    index = sharded / f"{STEM}.safetensors.index.json"
    index.write_text(text)
    refused(sharded, file=index.name, says="JSON|weight_map")


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/passwd", "shard.bin", 7])
def test_an_index_cannot_point_out_of_its_folder_or_at_other_files(sharded, name):
    index = sharded / f"{STEM}.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"proj_out.bias": name}}))
    refused(sharded, file=index.name, says="is not a safetensors file beside it")


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.pt", "wan.ckpt", "x.pth"])
def test_a_pickle_is_never_opened(tmp_path, name):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    refused(tmp_path, file=name, says="pickle files can run code")


def test_a_folder_without_weights_or_no_folder_is_refused(tmp_path):
    refused(tmp_path, file=f"{STEM}.safetensors", says="missing")
    refused(tmp_path / "nowhere", file="", says="missing")


MEASURE = """
import sys, torch
from pathlib import Path
from model.checkpoint import load_transformer
from model.transformer import TransformerConfig

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

config = TransformerConfig(num_attention_heads=8, ffn_dim=2048, num_layers=2, text_dim=64)
for dtype in torch.float32, torch.bfloat16:
    before = resident()
    module = load_transformer(Path(sys.argv[1]), config, dtype=dtype)
    print(sum(p.nbytes for p in module.parameters()), resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_loading_takes_no_more_memory_than_the_weights(tmp_path):
    config = TransformerConfig(num_attention_heads=8, ffn_dim=2048, num_layers=2, text_dim=64)
    with torch.device("meta"):
        shapes = Transformer(config).state_dict()
    save_file(
        {key: torch.zeros(tensor.shape) for key, tensor in shapes.items()},
        tmp_path / f"{STEM}.safetensors",
    )
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path], capture_output=True, check=True, text=True
    )
    wide, mapped, narrow, copied = map(int, run.stdout.split())
    assert wide > 100e6
    assert narrow > 50e6
    assert mapped < 0.1 * wide  # what needs no conversion stays in the file's pages
    assert copied < 1.2 * narrow  # what does is copied once
