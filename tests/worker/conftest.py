"""A small random Wan checkpoint, and everything a worker has at hand, all of it real."""

import json
import subprocess
import time
from pathlib import Path

import diffusers
import pytest
import torch
from tokenizers import Tokenizer, models, trainers
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

from app.contract.blobs import Blobs
from app.contract.job import JobSpec
from app.contract.queue import Queue
from app.contract.settings import Settings
from app.contract.store import Store
from app.embedded import redis_command
from app.migrations.upgrade import upgrade
from model import Pipeline
from worker.render import Workplace
from worker.settings import WorkerSettings

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
        UMT5Config(
            vocab_size=pieces, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
        )
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


@pytest.fixture(scope="session")
def pipeline(checkpoint):
    torch.set_num_threads(1)
    return Pipeline.load(checkpoint)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(redis_command(folder / "data", path), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < deadline and server.poll() is None
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A migrated, empty SQLite file, copied for each test."""
    file = tmp_path_factory.mktemp("sqlite") / "empty.db"
    upgrade(f"sqlite:///{file}")
    return file.read_bytes()


@pytest.fixture
def place(tmp_path, migrated, redis_url, pipeline):
    """Everything that `render` needs, with its own database and blob folder."""
    (tmp_path / "kinora.db").write_bytes(migrated)
    settings = Settings(data=tmp_path, redis_url=redis_url, heartbeat_s=0.05)
    place = Workplace(
        pipeline=pipeline,
        store=Store.open(settings.database_url),
        blobs=Blobs.open(settings),
        queue=Queue(redis_url),
        settings=settings,
        worker=WorkerSettings(encode_preset="ultrafast"),
        scratch=tmp_path / "scratch",
    )
    yield place
    place.queue.close()
    place.store.close()


@pytest.fixture
def spec():
    return JobSpec(
        model="random-ti2v",
        prompt="a red ball",
        width=64,
        height=96,
        frames=9,
        fps=8,
        steps=3,
        guidance=5.0,
        seed=1,
    )
