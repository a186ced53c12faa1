"""Shared by the whole suite: one thread for each process, and the real servers that tests need."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from xdist.scheduler import LoadFileScheduling

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell has what it starts in the background ignore Ctrl-C, and that is inherited: in such a run
# tests could not interrupt the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


class OneCluster(LoadFileScheduling):
    """Gives each process a file at a time, and all tests of whole clusters to one of them: a
    cluster has many processes of its own, which need the cores.
    """

    def _split_scope(self, nodeid):
        return "clusters" if nodeid.startswith("tests/service/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # the clusters, near the end, would come first
    return OneCluster(config, log)


@pytest.fixture(autouse=True, scope="session")
def short_tracebacks():
    """The default prints every variable of every frame, which takes half a minute for one fault."""
    *others, _console = structlog.get_config()["processors"]
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, console])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """A real Redis-compatible server, the one that the embedded service runs."""
    from app.embedded import redis_command

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
def running():
    """Runs `kinora serve` in a data folder with a checkpoint; gives the service's address."""

    @contextmanager
    def running(data, checkpoint, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command = [sys.executable, "-m", "app.cli", "serve", "--data", data, "--port", port]
        log = data / "serve.log"
        with log.open("wb") as output:
            service = subprocess.Popen(
                [*command, "--checkpoint", checkpoint],
                stdout=output,
                stderr=output,
                env=os.environ | environment,
                cwd=Path(__file__).parents[1],
            )
        try:
            deadline = time.monotonic() + 240
            while not _answers(f"http://127.0.0.1:{port}/readyz"):
                assert time.monotonic() < deadline and service.poll() is None, log.read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            service.terminate()
            service.wait(60)

    return running


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A migrated, empty SQLite file's bytes, to be copied for each test."""
    from app.migrations.upgrade import upgrade

    file = tmp_path_factory.mktemp("sqlite") / "empty.db"
    upgrade(f"sqlite:///{file}")
    return file.read_bytes()


@pytest.fixture(scope="session")
def capabilities():
    """What a small model that does not exist says of itself."""
    from app.contract.capabilities import Capabilities

    return Capabilities(
        model_id="tiny",
        width=64,
        height=64,
        frames=5,
        fps=8,
        steps=4,
        guidance=5.0,
        grid=16,
        max_pixels=1920 * 1088,
        max_frames=81,
        flow_shift=3.0,
        modes=("text", "image"),
        sizes=((64, 64), (1920, 1080)),
    )


@pytest.fixture(scope="session")
def spec(capabilities):
    """A job for that model."""
    from app.contract.job import JobSpec

    return JobSpec(
        model=capabilities.model_id,
        prompt="a red ball",
        width=64,
        height=64,
        frames=9,
        fps=8,
        steps=4,
        guidance=5.0,
        seed=1,
    )


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A random checkpoint in the layout of Wan 2.2 TI2V, so small that a clip takes a second."""
    import diffusers
    import torch

    folder = tmp_path_factory.mktemp("checkpoints") / "random-ti2v"
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=8,
        out_channels=8,
        text_dim=24,
        freq_dim=32,
        ffn_dim=32,
        num_layers=1,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )
    vae = diffusers.AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=8,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 8,
        latents_std=[1.0] * 8,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=16,
    )
    diffusers.WanPipeline(
        tokenizer=tokenizer,
        text_encoder=_text_encoder(len(tokenizer)),
        vae=vae,
        transformer=transformer,
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        expand_timesteps=True,
    ).save_pretrained(folder)
    return folder


def _tokenizer():
    from tokenizers import Tokenizer, models, trainers
    from transformers import T5Tokenizer

    trained = Tokenizer(models.Unigram())
    corpus = ["a red ball rolls left, a blue square rises over the dark floor"] * 20
    special = ["<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(
        corpus, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>")
    )
    pieces = json.loads(trained.to_str())["model"]["vocab"]
    return T5Tokenizer(vocab=[tuple(piece) for piece in pieces], extra_ids=0)


def _text_encoder(pieces):
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(
        UMT5Config(vocab_size=pieces, d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )
