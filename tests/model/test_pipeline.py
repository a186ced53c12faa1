"""From a request to frames, on a small random checkpoint."""

import json
import shutil
from itertools import groupby, pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from model import CheckpointError, Pipeline, Request
from model.canvas import Canvas, from_uint8, to_uint8
from model.checkpoint import weight_bytes
from model.pipeline import Progress


@pytest.fixture(scope="module")
def pipeline(checkpoint):
    return Pipeline.load(checkpoint)


def frames(pipeline, request, **more) -> torch.Tensor:
    return torch.cat(list(pipeline.generate(request, **more)))


@torch.no_grad()
def round_trip(pipeline, pixels: torch.Tensor) -> torch.Tensor:
    """What is left of frames once the (random) VAE has had them."""
    return to_uint8(pipeline._vae.decode(pipeline._vae.encode(pixels)))


def changed(checkpoint, tmp_path, refine: dict):
    """A copy of the folder with another refine section."""
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    own = json.loads((folder / "kinora.json").read_text())
    own["refine"] |= refine
    (folder / "kinora.json").write_text(json.dumps(own))
    return folder


def picture(width=96, height=64) -> Image.Image:
    ramp = torch.linspace(0, 255, width).expand(height, -1)
    values = torch.stack([ramp, ramp.flip(1), ramp * 0 + 90], dim=-1).to(torch.uint8)
    return Image.fromarray(values.numpy())


@pytest.mark.parametrize(
    ("width", "height", "count"), [(96, 64, 1), (64, 96, 5), (50, 37, 9), (33, 64, 13)]
)
def test_a_clip_has_exactly_the_size_and_length_asked_for(pipeline, width, height, count):
    chunks = list(
        pipeline.generate(Request("a", width=width, height=height, frames=count, steps=1))
    )
    assert [1, *[4] * (count // 4)] == [len(chunk) for chunk in chunks]
    assert {(height, width, 3)} == {tuple(chunk.shape[1:]) for chunk in chunks}
    assert {torch.uint8} == {chunk.dtype for chunk in chunks}


def test_a_seed_means_its_frames(pipeline):
    first = frames(pipeline, Request("red ball", seed=3))
    assert torch.equal(first, frames(pipeline, Request("red ball", seed=3)))
    assert not torch.equal(first, frames(pipeline, Request("red ball", seed=4)))


def test_the_prompts_and_the_guidance_matter(pipeline):
    first = frames(pipeline, Request("red ball", guidance=6.0))
    for other in (
        Request("blue cube", guidance=6.0),
        Request("red ball", guidance=6.0, negative_prompt="red ball"),
        Request("red ball", guidance=1.0),
    ):
        assert not torch.equal(first, frames(pipeline, other))


def test_given_noise_stands_in_for_the_seed(pipeline):
    noise = torch.randn(1, 6, 2, 4, 6, generator=torch.Generator().manual_seed(3))
    expected = frames(pipeline, Request("a", seed=3))
    assert torch.equal(expected, frames(pipeline, Request("a", seed=99), noise=noise))


@pytest.mark.parametrize("shape", [(1, 6, 2, 6, 4), (6, 2, 4, 6), (2, 6, 2, 4, 6)])
def test_noise_of_another_shape_is_refused(pipeline, shape):
    with pytest.raises(ValueError, match=r"^noise: "):
        pipeline.generate(Request("a"), noise=torch.randn(shape))


def test_a_bad_request_is_refused_before_any_frame_is_taken(pipeline):
    with pytest.raises(ValueError, match=r"^frames: "):
        pipeline.generate(Request("a", frames=6))


def test_progress_counts_the_work_of_each_stage(pipeline):
    seen = []
    request = Request("a", frames=9, steps=4)
    chunks = pipeline.generate(request, on_step=seen.append)
    assert not seen
    next(chunks)
    assert seen[-1] == Progress("decode", 1, 3)  # no frame is decoded before it is wanted
    list(chunks)
    stages = {name: list(group) for name, group in groupby(seen, lambda p: p.stage)}
    assert list(stages) == ["text", "denoise", "decode"]
    assert [Progress("denoise", i, 4) for i in range(1, 5)] == stages["denoise"]
    assert [Progress("decode", i, 3) for i in range(1, 4)] == stages["decode"]


def test_what_on_step_raises_stops_the_work(pipeline):
    class Cancelled(Exception):
        pass

    seen = []

    def stop(progress):
        seen.append(progress)
        if progress == Progress("denoise", 2, 5):
            raise Cancelled

    with pytest.raises(Cancelled):
        frames(pipeline, Request("a", steps=5), on_step=stop)
    assert seen[-1] == Progress("denoise", 2, 5)


def test_a_consumer_is_left_with_gradients_enabled(pipeline):
    for _ in pipeline.generate(Request("a", steps=1)):
        assert torch.is_grad_enabled()


def test_an_image_is_the_first_frame(pipeline):
    first = frames(pipeline, Request("a", image=picture()))[:1]
    seen = round_trip(pipeline, Canvas.of(96, 64, 32).picture(picture()))
    assert (first.int() - seen.int()).abs().max() <= 1


def test_a_last_image_changes_the_end(pipeline):
    first = Request("a", image=picture(), frames=9)
    both = Request("a", image=picture(), last_image=picture().rotate(180), frames=9)
    assert not torch.equal(frames(pipeline, first)[-1], frames(pipeline, both)[-1])


def test_a_weak_edit_stays_closer_to_its_source_than_a_strong_one(pipeline):
    source = frames(pipeline, Request("a", seed=5))

    seen = round_trip(pipeline, from_uint8(source))

    def distance(strength):
        edited = frames(pipeline, Request("b", video=source, strength=strength, steps=10))
        assert edited.shape == source.shape
        return (edited.float() - seen.float()).square().mean()

    assert distance(0.1) < distance(1.0) / 2


def test_a_large_clip_is_refined_from_a_small_one(checkpoint, tmp_path):
    pipeline = Pipeline.load(changed(checkpoint, tmp_path, {"strength": 1e-4}))
    seen = []
    large = Request("a", width=250, height=130, frames=5, steps=3)
    clip = frames(pipeline, large, on_step=seen.append)
    assert tuple(clip.shape) == (5, 130, 250, 3)
    # 3 steps, 2 latent frames enlarged, 2 steps of 4 x 4 tiles of 2 x 3 tokens over 5 x 8
    denoise = [p for p in seen if p.stage == "denoise"]
    assert [Progress("denoise", i + 1, 37) for i in range(37)] == denoise
    # With next to no noise, refining only passes the enlarged clip through the VAE.
    small = frames(pipeline, Request("a", width=128, height=67, frames=5, steps=3))
    canvas = Canvas.of(250, 130, 32)
    (enlarged,) = canvas.resize([from_uint8(small)])
    expected = to_uint8(canvas.crop(from_uint8(round_trip(pipeline, enlarged))))
    assert (clip.int() - expected.int()).abs().float().mean() < 2


def test_a_large_clip_begins_with_its_image(pipeline):
    image = picture(256, 128)
    first = frames(pipeline, Request("a", width=256, height=128, image=image))[:1]
    seen = round_trip(pipeline, Canvas.of(256, 128, 32).picture(image))
    assert (first.int() - seen.int()).abs().max() <= 1


def test_bfloat16_weights_make_nearly_the_same_frames(checkpoint, pipeline):
    request = Request("red ball", steps=2, guidance=2.0)
    transformer = Pipeline.load(checkpoint, dtype=torch.bfloat16)
    vae = Pipeline.load(checkpoint, vae_dtype=torch.bfloat16)
    for half, most in ((transformer, 8), (vae, 1)):
        difference = (frames(half, request).float() - frames(pipeline, request).float()).abs()
        assert 0 < difference.mean() < most
    assert vae.memory(960, 640).peak < pipeline.memory(960, 640).peak


def test_capabilities_say_what_the_folder_says(pipeline):
    able = pipeline.capabilities
    assert (able.model_id, able.grid, able.frame_factor, able.max_frames) == ("small", 32, 4, 33)
    assert (
        able.width,
        able.height,
        able.frames,
        able.fps,
        able.steps,
        able.guidance,
    ) == (96, 64, 5, 16, 3, 3.0)
    assert {
        "text",
        "image",
        "first_last",
        "edit",
        "extend",
        "lead_in",
        "loop",
        "storyboard",
    } == set(able.modes)


@pytest.mark.parametrize(
    "change",
    [
        {"strenght": 0.5},
        {"strength": 2},
        {"tile": 8},
        {"tile": None},
        {"overlap": "x"},
        {"steps": "many"},
    ],
)
def test_a_refine_section_that_makes_no_sense_is_a_checkpoint_error(checkpoint, tmp_path, change):
    folder = changed(checkpoint, tmp_path, change)
    with pytest.raises(CheckpointError, match=r"kinora\.json: refine"):
        Pipeline.load(folder)


def test_misspelled_refine_steps_do_not_mean_none(checkpoint, tmp_path):
    folder = changed(checkpoint, tmp_path, {})
    own = json.loads((folder / "kinora.json").read_text())
    own["refine"]["step"] = own["refine"].pop("steps")
    (folder / "kinora.json").write_text(json.dumps(own))
    with pytest.raises(CheckpointError, match="refine: step is none of its keys: base_pixels"):
        Pipeline.load(folder)


def test_without_refine_steps_a_large_clip_is_made_directly(checkpoint, tmp_path):
    seen = []
    clip = frames(
        Pipeline.load(changed(checkpoint, tmp_path, {"steps": 0})),
        Request("a", width=250, height=130, frames=1, steps=2),
        on_step=seen.append,
    )
    assert tuple(clip.shape) == (1, 130, 250, 3)
    assert [Progress("denoise", i, 2) for i in (1, 2)] == [p for p in seen if p.stage == "denoise"]


def test_with_an_upsampler_a_large_clip_is_the_small_one_enlarged(upsampling):
    pipeline = Pipeline.load(upsampling)
    seen = []
    large = Request("a", width=250, height=130, frames=5, steps=3)
    clip = frames(pipeline, large, on_step=seen.append)
    small = frames(pipeline, Request("a", width=128, height=67, frames=5, steps=3))
    assert [Progress("denoise", i, 3) for i in (1, 2, 3)] == [
        p for p in seen if p.stage == "denoise"
    ]
    expected = pipeline._upsampler.enlarge(from_uint8(small), Canvas.of(250, 130, 32))
    assert (clip.int() - to_uint8(expected).int()).abs().float().mean() < 1
    plain = F.interpolate(from_uint8(small)[0].transpose(0, 1), (130, 250), mode="bicubic")
    plain = to_uint8(plain.transpose(0, 1)[None])
    assert (clip.int() - plain.int()).abs().float().mean() > 2  # the network has its say


def test_with_an_upsampler_small_clips_are_what_they_were(upsampling, windowed):
    with_it, without = Pipeline.load(upsampling), Pipeline.load(windowed)
    request = Request("a", frames=9)
    assert torch.equal(frames(with_it, request), frames(without, request))
    assert with_it.memory(96, 64).weights > without.memory(96, 64).weights


def test_a_state_in_the_middle_of_refining_is_not_gone_on_with_by_an_upsampler(
    upsampling, windowed
):
    request = Request("a", width=128, height=100, frames=5, steps=1)
    states = []
    frames(Pipeline.load(windowed), request, on_step=lambda p: states.append(p.state()))
    begun = [state for state in states if state["place"][1] == 2]
    with pytest.raises(ValueError, match="resume: is in the middle of refining"):
        Pipeline.load(upsampling).generate(request, resume=begun[0])


def test_an_upsampler_that_would_never_be_used_is_a_checkpoint_error(upsampling, tmp_path):
    with pytest.raises(CheckpointError, match="refine: must say, with steps above 0"):
        Pipeline.load(changed(upsampling, tmp_path, {"steps": 0}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "Other"}, "_class_name is 'Other'; it must be Upsampler"),
        ({"_class_name": "Upsampler", "width": 0}, "width: must be at least 1, not 0"),
        ({"_class_name": "Upsampler", "width": 8, "num_layers": 1}, "config.json asks for"),
    ],
)
def test_an_upsampler_that_cannot_be_is_a_checkpoint_error(upsampling, tmp_path, config, message):
    folder = shutil.copytree(upsampling, tmp_path / "copy")
    (folder / "upsampler" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        Pipeline.load(folder)


@pytest.fixture
def with_lora(checkpoint, tmp_path):
    """`with_lora(scale)` is the small checkpoint with a LoRA that changes every block."""

    def copy(scale: float) -> Path:
        folder = shutil.copytree(checkpoint, tmp_path / str(scale))
        own = json.loads((folder / "kinora.json").read_text())
        own["loras"] = [{"file": "loras/style.safetensors", "scale": scale}]
        (folder / "kinora.json").write_text(json.dumps(own))
        (folder / "loras").mkdir()
        generator = torch.Generator().manual_seed(2)
        tensors = {}
        for block in range(2):
            key = f"diffusion_model.blocks.{block}.ffn.0"
            tensors[f"{key}.lora_down.weight"] = torch.randn(4, 24, generator=generator)
            tensors[f"{key}.lora_up.weight"] = torch.randn(40, 4, generator=generator)
        save_file(tensors, folder / "loras" / "style.safetensors")
        return folder

    return copy


def test_a_checkpoint_with_loras_makes_other_frames(checkpoint, with_lora):
    folders = (checkpoint, with_lora(0), with_lora(1), with_lora(2))
    request = Request("red ball", seed=3)
    plain, zero, *styled = (frames(Pipeline.load(folder), request) for folder in folders)
    assert torch.equal(plain, zero)
    assert not any(torch.equal(a, b) for a, b in pairwise([plain, *styled]))


def test_weights_that_wait_in_host_memory_have_their_loras_too(with_lora):
    folder, request = with_lora(1), Request("red ball", seed=3)
    whole, waiting = (
        frames(Pipeline.load(folder, offload=offload), request) for offload in (False, True)
    )
    assert torch.equal(whole, waiting)


def test_loras_take_no_memory_once_they_are_merged(checkpoint, with_lora):
    folder = with_lora(1)
    assert weight_bytes(folder, torch.float32) == weight_bytes(checkpoint, torch.float32)
    assert Pipeline.needed(folder) == Pipeline.needed(checkpoint)
