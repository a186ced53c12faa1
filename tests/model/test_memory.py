import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model import Pipeline
from model.canvas import Canvas
from model.checkpoint import weight_bytes
from model.config import PRESETS, CheckpointConfig
from model.footprint import peak_bytes
from model.memory import compute_dtype, decoding, denoising, encoding, estimate
from model.outline import FRUGAL_TILE, sizes
from model.schedule import ScheduleConfig
from model.seams import Seam
from model.shapes import TokenGrid
from model.transformer import TransformerConfig
from model.upsampler import UpsamplerConfig
from model.upscale import Refine
from model.vae import VAE, VAEConfig

NARROW = TransformerConfig(
    num_attention_heads=4, attention_head_dim=64, ffn_dim=512, text_dim=32, num_layers=2
)
GRID = TokenGrid(2, 32, 48)
SMALL_VAE = VAEConfig(base_dim=16, num_res_blocks=1)

# Prints how far each computation pushes the process's memory above what it had before it.
MEASURE = """
import ctypes, torch
from pathlib import Path
from model.streaming import Stream
from model.transformer import Transformer, TransformerConfig
from model.vae import VAE, VAEConfig

def kilobytes(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind))

def measure(run):
    run(16, 16, 1)  # libraries set themselves up
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = kilobytes("VmRSS")
    run(64, 96, 2)
    print((kilobytes("VmHWM") - before) * 1024)

def denoise(config, dtype):
    model = Transformer(config).to(dtype)
    text = torch.zeros(1, 8, 32, dtype=dtype)
    return lambda h, w, t: model(torch.zeros(1, 16, t, h, w, dtype=dtype), torch.zeros(1), text)

def decode(config, lean, dtype=torch.float32):
    vae = VAE(config).to(dtype)
    def run(h, w, t):
        stream = Stream(lean=lean)
        for _ in range(t):
            vae.decode(torch.zeros(1, 16, 1, h // 4, w // 4), stream)
    return run

def encode(config):
    vae = VAE(config)
    def run(h, w, t):
        stream = Stream()
        for frames in (1, *[4] * (t - 1)):
            vae.encode(torch.zeros(1, 3, frames, 2 * h, 2 * w), stream)
    return run

narrow = dict(num_attention_heads=4, attention_head_dim=64, text_dim=32, num_layers=2)
with torch.inference_mode():
    measure(denoise(TransformerConfig(**narrow, ffn_dim=512), torch.float32))
    measure(denoise(TransformerConfig(**narrow, ffn_dim=2048), torch.float32))
    measure(denoise(TransformerConfig(**narrow, ffn_dim=512), torch.bfloat16))
    small = VAEConfig(base_dim=16, num_res_blocks=1)
    measure(decode(small, lean=False))
    measure(decode(small, lean=True))
    measure(decode(small, lean=False, dtype=torch.bfloat16))
    measure(encode(small))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_what_is_counted_is_what_a_process_takes():
    # glibc keeps some of what is freed, in one run nothing, in another as much again: here each
    # tensor is memory of its own, which goes back at once.
    own = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, check=True, text=True, env=own
    )
    estimates = {
        "float32": denoising(NARROW, GRID, torch.float32),
        "wide feed-forward": denoising(replace(NARROW, ffn_dim=2048), GRID, torch.float32),
        "bfloat16": denoising(NARROW, GRID, torch.bfloat16),
        "decode": sum(decoding(SMALL_VAE, 128, 192, torch.float32, lean=False)),
        "decode, lean": sum(decoding(SMALL_VAE, 128, 192, torch.float32, lean=True)),
        "decode, bfloat16": sum(decoding(SMALL_VAE, 128, 192, torch.bfloat16, lean=False)),
        "encode": sum(encoding(SMALL_VAE, 128, 192, torch.float32, lean=False)),
    }
    taken = map(int, run.stdout.split())
    for (name, expected), actual in zip(estimates.items(), taken, strict=True):
        assert expected / 1.5 < actual < expected * 1.5, (
            f"{name}: {actual} taken, {expected} counted"
        )


@pytest.fixture
def config(tmp_path):
    return CheckpointConfig(
        folder=tmp_path,
        model_id="ti2v-5b",
        family="wan2.2-ti2v",
        modes=("text",),
        transformer=TransformerConfig(
            num_attention_heads=24, in_channels=48, out_channels=48, ffn_dim=14336, num_layers=30
        ),
        transformer_2=None,
        boundary_ratio=None,
        expand_timesteps=True,
        vae=VAEConfig(
            base_dim=160,
            decoder_base_dim=256,
            z_dim=48,
            is_residual=True,
            in_channels=12,
            out_channels=12,
            patch_size=2,
            scale_factor_spatial=16,
        ),
        schedule=ScheduleConfig(),
        text_length=512,
        max_frames=121,
        window_frames=121,
        defaults=PRESETS["wan2.2-ti2v"],
    )


def memory_of(config, width=1280, height=704, **more):
    more = {"dtype": torch.bfloat16} | more
    return estimate(config, sizes(width, height, config, None), **more)


def test_the_weights_of_a_5b_model_are_counted_in_their_dtype(config):
    narrow, wide = (memory_of(config, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    assert wide.weights - narrow.weights == pytest.approx(2 * 5.0e9, rel=0.01)
    assert 12e9 < narrow.peak < 40e9  # what such cards are known to manage
    assert memory_of(config, weights=10**9).weights == 10**9


def test_longer_windows_take_more_memory_to_denoise_but_not_to_decode(config):
    short, long = (memory_of(replace(config, window_frames=frames)) for frames in (17, 121))
    assert long.denoise > 2 * short.denoise
    assert (long.decode - short.decode) < 0.1 * short.decode
    assert long.streams == short.streams


def test_a_second_expert_doubles_the_transformers_weights(config):
    one = memory_of(config)
    two = memory_of(replace(config, transformer_2=config.transformer))
    assert two.weights - one.weights == pytest.approx(10.0e9, rel=0.01)


def test_a_clip_that_is_refined_is_denoised_in_less_memory(config):
    refine = Refine(base_pixels=640 * 352, strength=0.4, steps=2, tile=(11, 20), overlap=2)
    whole = memory_of(config)
    refined = estimate(config, sizes(1280, 704, config, refine), dtype=torch.bfloat16)
    assert refined.denoise < 0.7 * whole.denoise
    assert refined.streams > whole.streams  # enlarged frames are encoded, as a stream too


def test_a_frame_that_is_enlarged_is_counted(config):
    refine = Refine(base_pixels=160 * 96, strength=0.4, steps=2, tile=(2, 3), overlap=1)
    small = replace(config, upsampler=UpsamplerConfig(width=1))
    large = replace(config, upsampler=UpsamplerConfig(width=2048))
    plain, counted = (
        estimate(each, sizes(192, 128, each, refine), dtype=torch.bfloat16)
        for each in (small, large)
    )
    # What leaves the network alone is 64 times a padded frame, whose sides grow by 16 pixels.
    assert counted.decode > plain.decode
    assert counted.decode > 64 * 3 * 160 * 96 * 4


def test_a_loaded_checkpoint_counts_all_that_is_loaded(checkpoint):
    pipeline = Pipeline.load(checkpoint)
    loaded = (pipeline._text, pipeline._vae, *pipeline._transformers)
    weights = sum(p.nbytes for module in loaded for p in module.parameters())
    memory = pipeline.memory(96, 64)
    assert memory.weights == weights
    assert memory.peak == weights + memory.streams + max(memory.denoise, memory.decode)
    assert pipeline.memory(960, 640).peak > memory.peak


def test_what_is_needed_is_known_before_anything_is_loaded(checkpoint):
    loaded = Pipeline.load(checkpoint).memory(96, 64)
    assert Pipeline.needed(checkpoint) >= loaded.weights + loaded.streams
    assert Pipeline.needed(checkpoint, torch.bfloat16) < Pipeline.needed(checkpoint)
    narrow = Pipeline.needed(checkpoint, torch.bfloat16, vae_dtype=torch.bfloat16)
    assert narrow < Pipeline.needed(checkpoint, torch.bfloat16)
    assert weight_bytes(checkpoint, torch.float32) == loaded.weights


def test_a_table_of_positions_beside_an_encoders_weights_is_no_fault(tmp_path):
    """Older versions of transformers saved CLIP's."""
    (tmp_path / "image_encoder").mkdir()
    table = {"embeddings.position_ids": torch.arange(7)[None]}
    save_file(table, tmp_path / "image_encoder" / "model.safetensors")
    assert weight_bytes(tmp_path, torch.float32) == 7 * 4


@pytest.mark.parametrize("modes", [("text",), ("text", "image")])
@pytest.mark.parametrize("tile", [None, FRUGAL_TILE])
def test_what_is_given_or_edited_is_encoded_beside_what_the_decoder_remembers(config, modes, tile):
    counted = memory_of(replace(config, modes=modes), lean=True, frugal=tile is not None)
    size = (720, 1280, torch.float32)
    assert counted.decode >= sum(encoding(config.vae, *size, lean=True, tile=tile))


def test_pictures_are_encoded_in_less_memory_in_tiles():
    size = (720, 1280, torch.float32)
    whole, tiled = (encoding(VAEConfig(), *size, lean=True, tile=t) for t in (None, FRUGAL_TILE))
    assert sum(tiled) < 0.7 * sum(whole)


@torch.no_grad()
@pytest.mark.parametrize("count", [decoding, encoding])
def test_what_tiles_remember_is_counted_margins_and_all(count):
    vae = VAE(SMALL_VAE).requires_grad_(requires_grad=False).in_tiles((32, 32))
    stream = vae.stream()
    if count is decoding:
        for _ in range(3):
            vae.decode(torch.randn(1, 16, 1, 48, 48), stream)
    else:
        vae.encode(torch.rand(1, 3, 9, 48 * 8, 48 * 8), stream)
    held = sum(part.untyped_storage().nbytes() for part in stream.past.values())
    size = (48 * 8, 48 * 8, torch.float32)
    whole, tiled = (count(SMALL_VAE, *size, lean=True, tile=t)[1] for t in (None, (32, 32)))
    assert tiled == pytest.approx(held, rel=0.01)
    assert whole < tiled


def test_a_preview_takes_no_more_than_what_is_counted_for_a_frame():
    with torch.device("meta"):
        vae, latents = VAE(SMALL_VAE), torch.empty(1, 16, 1, 16, 24)
    counted, _ = decoding(SMALL_VAE, 128, 192, torch.float32, lean=True)
    assert peak_bytes(lambda: vae.decode(latents))[0] <= counted


def test_a_seam_holds_no_more_of_a_devices_memory_than_a_lean_stream():
    with torch.device("meta"):
        vae, frame = VAE(SMALL_VAE), torch.empty(128, 192, 3, dtype=torch.uint8)
    counted = sum(decoding(SMALL_VAE, 128, 192, torch.float32, lean=True))
    pictures = 12 * frame.numel() * 4  # the given one in float32, and what is decoded of it
    taken, _ = peak_bytes(lambda: Seam.of(vae, Canvas(192, 128, 192, 128), frame))
    assert taken <= counted + pictures


def test_the_cpu_computes_in_bfloat16_only_where_it_multiplies_it():
    flags = Path("/proc/cpuinfo").read_text().split()
    multiplies = "avx512_bf16" in flags or "amx_bf16" in flags
    assert compute_dtype("cpu") == (torch.bfloat16 if multiplies else torch.float32)
