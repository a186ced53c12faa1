"""A small random Wan checkpoint, and everything a worker has at hand, all of it real."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from tokenizers import Tokenizer, models, trainers
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

TEXT_WIDTH = 24
Z = 8


def tokenizer() -> T5Tokenizer:
    trained = Tokenizer(models.Unigram())
    corpus = ["a red ball rolls left, a blue square rises over the dark floor"] * 20
    special = ["<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(
        corpus, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>")
    )
    pieces = json.loads(trained.to_str())["model"]["vocab"]
    return T5Tokenizer(vocab=[tuple(piece) for piece in pieces], extra_ids=0)


def text_encoder(pieces: int) -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(vocab_size=pieces, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )


def transformer() -> diffusers.WanTransformer3DModel:
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=Z,
        out_channels=Z,
        text_dim=TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=32,
        num_layers=1,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )


def autoencoder() -> diffusers.AutoencoderKLWan:
    return diffusers.AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=Z,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * Z,
        latents_std=[1.0] * Z,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=16,
    )


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of Wan 2.2 TI2V, small enough that a clip takes a second."""
    folder = tmp_path_factory.mktemp("checkpoints") / "random-ti2v"
    torch.manual_seed(0)
    words = tokenizer()
    diffusers.WanPipeline(
        tokenizer=words,
        text_encoder=text_encoder(len(words)),
        vae=autoencoder(),
        transformer=transformer(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        expand_timesteps=True,
    ).save_pretrained(folder)
    return folder
