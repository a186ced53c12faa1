"""Small random checkpoints of every Wan family, written by diffusers, and the table of results.

Widths are odd on purpose and every parameter is random and large enough to matter, so that a path
left out, a transposed axis or a forgotten bias changes the frames.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import diffusers
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

CORPUS = (
    "a red ball rolls left over a white floor, a blue square grows in the dark, "
    "two green stars rise, the yellow triangle shrinks & turns; blurry, low quality, ugly "
) * 40

TEXT_WIDTH = 26
IMAGE_WIDTH = 12
IMAGE_TOKENS = 17


@dataclass(frozen=True)
class Family:
    """What makes one kind of checkpoint differ from the others."""

    pipeline: type
    channels: int
    experts: int = 1
    boundary_ratio: float | None = None
    clip: bool = False
    image_positions: int | None = None
    expand_timesteps: bool = False
    solver: str = "unipc"
    flow_shift: float = 3.0


Z21, Z22 = 6, 10
FAMILIES = {
    "2.1-t2v": Family(diffusers.WanPipeline, Z21),
    "2.1-i2v": Family(diffusers.WanImageToVideoPipeline, 2 * Z21 + 4, clip=True),
    "2.1-flf2v": Family(
        diffusers.WanImageToVideoPipeline,
        2 * Z21 + 4,
        clip=True,
        image_positions=2 * IMAGE_TOKENS,
        solver="euler",
        flow_shift=16.0,
    ),
    "2.2-t2v-a14b": Family(
        diffusers.WanPipeline, Z21, experts=2, boundary_ratio=0.875, solver="euler", flow_shift=5.0
    ),
    "2.2-i2v-a14b": Family(
        diffusers.WanImageToVideoPipeline, 2 * Z21 + 4, experts=2, boundary_ratio=0.9
    ),
    "2.2-ti2v": Family(diffusers.WanPipeline, Z22, expand_timesteps=True, flow_shift=5.0),
}


def randomize(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter random: matrices keep a signal's size, scales are near one, biases count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.ndim > 1 and "table" not in name and "embed.weight" not in name:
                parameter.copy_(1.3 * noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.4 * noise)
    return module.eval()


def tokenizer() -> T5Tokenizer:
    """A Unigram tokenizer trained here, in the form that T5's tokenizers are saved in."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    special = ["<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(
        [CORPUS],
        trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>"),
    )
    scored = json.loads(trained.to_str())["model"]["vocab"]
    return T5Tokenizer(vocab=[tuple(piece) for piece in scored], extra_ids=0)


def text_encoder(pieces: int) -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=pieces,
        d_model=TEXT_WIDTH,
        d_kv=7,
        d_ff=37,
        num_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
        feed_forward_proj="gated-gelu",
    )
    return randomize(UMT5EncoderModel(config), 1)


def transformer(family: Family, seed: int) -> diffusers.WanTransformer3DModel:
    heads, head_dim = 3, 14
    return randomize(
        diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=heads,
            attention_head_dim=head_dim,
            in_channels=family.channels,
            out_channels=Z22 if family.expand_timesteps else Z21,
            text_dim=TEXT_WIDTH,
            freq_dim=64,
            ffn_dim=52,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            image_dim=IMAGE_WIDTH if family.clip else None,
            added_kv_proj_dim=heads * head_dim if family.clip else None,
            pos_embed_seq_len=family.image_positions,
            rope_max_seq_len=64,
        ),
        seed,
    )


def autoencoder(family: Family) -> diffusers.AutoencoderKLWan:
    z = Z22 if family.expand_timesteps else Z21
    statistics = torch.Generator().manual_seed(5)
    config = {
        "z_dim": z,
        "base_dim": 4,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 1,
        "latents_mean": (0.5 * torch.randn(z, generator=statistics)).tolist(),
        "latents_std": (0.5 + torch.rand(z, generator=statistics)).tolist(),
    }
    if family.expand_timesteps:
        config |= {
            "decoder_base_dim": 6,
            "is_residual": True,
            "patch_size": 2,
            "in_channels": 12,
            "out_channels": 12,
            "scale_factor_spatial": 16,
        }
    return randomize(diffusers.AutoencoderKLWan(**config), 2)


def scheduler(solver: str, flow_shift: float):
    if solver == "euler":
        return diffusers.FlowMatchEulerDiscreteScheduler(shift=flow_shift)
    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=flow_shift
    )


def write(family: Family, folder: Path) -> None:
    """Save a checkpoint of `family` in the diffusers folder layout."""
    pieces = tokenizer()
    parts = {
        "tokenizer": pieces,
        "text_encoder": text_encoder(len(pieces)),
        "transformer": transformer(family, 3),
        "transformer_2": transformer(family, 4) if family.experts == 2 else None,
        "vae": autoencoder(family),
        "scheduler": scheduler(family.solver, family.flow_shift),
        "boundary_ratio": family.boundary_ratio,
        "expand_timesteps": family.expand_timesteps,
    }
    if family.pipeline is diffusers.WanImageToVideoPipeline:
        parts["image_encoder"] = clip() if family.clip else None
        parts["image_processor"] = clip_processor() if family.clip else None
    family.pipeline(**parts).save_pretrained(folder)


def clip() -> CLIPVisionModelWithProjection:
    """Of the class that diffusers' own conversion of Wan 2.1 writes."""
    config = CLIPVisionConfig(
        hidden_size=IMAGE_WIDTH,
        projection_dim=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        intermediate_size=19,
        patch_size=8,
    )
    return randomize(CLIPVisionModelWithProjection(config), 6)


def clip_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """`checkpoint(family, solver=None)` is the folder of a family, written on first use."""
    root = tmp_path_factory.mktemp("checkpoints")

    def folder(name: str, solver: str | None = None) -> Path:
        family = FAMILIES[name]
        path = root / name
        if not path.exists():
            write(family, path)
        if solver in (None, family.solver):
            return path
        other = root / f"{name}-{solver}"
        if not other.exists():
            shutil.copytree(path, other)
            scheduler(solver, family.flow_shift).save_pretrained(other / "scheduler")
            index = other / "model_index.json"
            names = ["UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"]
            old, new = names if solver == "euler" else reversed(names)
            index.write_text(index.read_text().replace(old, new))
        return other

    return folder


@pytest.fixture
def record(record_property):
    """`record(case, psnr_db, furthest, spread)` adds a line to the table at the end of the run."""
    return lambda *row: record_property("against diffusers", row)


def pytest_terminal_summary(terminalreporter):
    ended = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    noted = [each for report in ended for each in report.user_properties]
    rows = [row for name, row in noted if name == "against diffusers"]
    if rows:
        terminalreporter.section("frames against diffusers")
        width = max(len(row[0]) for row in rows)
        terminalreporter.line(f"{'case':{width}}  {'PSNR dB':>8}  {'max /255':>8}  {'std':>6}")
        for case, psnr, furthest, spread in rows:
            terminalreporter.line(f"{case:{width}}  {psnr:8.1f}  {furthest:8d}  {spread:6.1f}")
