"""A small random checkpoint written by our own modules, read by the real loading code."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import UMT5Config, UMT5EncoderModel

from model.transformer import Transformer, TransformerConfig
from model.upsampler import Upsampler, UpsamplerConfig
from model.vae import VAE, VAEConfig

PIECES = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz", "▁red", "▁ball"]
TEXT_WIDTH = 20
Z = 6  # latent channels
STEM = "diffusion_pytorch_model.safetensors"


def write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_module(folder: Path, name: str, module: torch.nn.Module) -> None:
    """Weights with enough spread to show in the frames, and the configuration beside them."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    write_json(folder / "config.json", {"_class_name": name, **asdict(module.config)})
    save_file(module.state_dict(), folder / STEM)


def write_transformer(folder: Path, in_channels: int) -> None:
    config = TransformerConfig(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=Z,
        text_dim=TEXT_WIDTH,
        freq_dim=16,
        ffn_dim=40,
        num_layers=2,
    )
    write_module(folder / "transformer", "WanTransformer3DModel", Transformer(config))


def write_text_encoder(folder: Path) -> None:
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    (folder / "tokenizer").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    config = UMT5Config(
        vocab_size=len(PIECES), d_model=TEXT_WIDTH, d_kv=6, d_ff=24, num_layers=1, num_heads=2
    )
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A folder of the TI2V kind, 32 pixels a token, with a refine section."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "small"
    write_text_encoder(folder)
    z = Z
    write_transformer(folder, in_channels=z)
    write_module(
        folder / "vae",
        "AutoencoderKLWan",
        VAE(
            VAEConfig(
                base_dim=4,
                decoder_base_dim=6,
                z_dim=z,
                dim_mult=(1, 2, 2),
                num_res_blocks=1,
                temperal_downsample=(True, True),
                latents_mean=(0.1,) * z,
                latents_std=(0.8,) * z,
                is_residual=True,
                patch_size=4,
                in_channels=48,
                out_channels=48,
                scale_factor_spatial=16,
            )
        ),
    )
    write_json(
        folder / "scheduler" / "scheduler_config.json",
        {
            "_class_name": "UniPCMultistepScheduler",
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "flow_shift": 3.0,
        },
    )
    write_json(
        folder / "model_index.json", {"_class_name": "WanPipeline", "expand_timesteps": True}
    )
    write_json(
        folder / "kinora.json",
        {
            "model_id": "small",
            "max_sequence_length": 12,
            "max_frames": 33,
            "default": {"width": 96, "height": 64, "frames": 5, "fps": 16, "steps": 3,
                        "guidance": 3.0, "flow_shift": 3.0},
            "train_grid": [2, 3],
            "refine": {"base_pixels": 96 * 96, "strength": 0.4, "steps": 2, "tile": [2, 3],
                       "overlap": 1},
        },
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def windowed(checkpoint, tmp_path_factory) -> Path:
    """The same with windows of 13 frames, 4 latent ones, that share one or more."""
    folder = shutil.copytree(checkpoint, tmp_path_factory.mktemp("windowed") / "small")
    own = json.loads((folder / "kinora.json").read_text())
    own |= {"window_frames": 13, "window_overlap": 1, "max_frames": 401}
    own["refine"] |= {"steps": 1, "tile": [4, 5]}
    (folder / "kinora.json").write_text(json.dumps(own))
    return folder


@pytest.fixture(scope="session")
def upsampling(windowed, tmp_path_factory) -> Path:
    """The same with an upsampler."""
    torch.manual_seed(2)
    folder = shutil.copytree(windowed, tmp_path_factory.mktemp("upsampling") / "small")
    upsampler = Upsampler(UpsamplerConfig(width=4, num_layers=1))
    write_module(folder / "upsampler", "Upsampler", upsampler)
    return folder


@pytest.fixture(scope="session")
def by_channels(windowed, tmp_path_factory) -> Path:
    """The same of the A14B image-to-video kind: given frames are channels, all times are one."""
    torch.manual_seed(1)
    folder = shutil.copytree(windowed, tmp_path_factory.mktemp("channels") / "small")
    write_transformer(folder, in_channels=2 * Z + 4)
    write_json(folder / "model_index.json", {"_class_name": "WanImageToVideoPipeline"})
    return folder
