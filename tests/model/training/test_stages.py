"""The stages of training end to end, a few steps each: resumed, exported, loaded, used."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from model import Pipeline, Request
from model.checkpoint import load_upsampler
from model.training import (
    captions,
    checkpoints,
    export,
    learner,
    reward,
    train_detector,
    train_transformer,
    train_upsampler,
    train_vae,
)
from model.training.__main__ import KINORA, WEIGHTS, main
from model.training.lessons import draw_clean, draw_lesson, draw_level, draw_wishes
from model.training.pools import BUCKETS, new_pools
from model.training.reading import plain_tokenizer
from model.training.scenes import SHAPES
from model.training.train_detector import DetectorRun
from model.training.train_transformer import TransformerRun
from model.training.train_upsampler import UpsamplerRun
from model.training.train_vae import VaeRun
from model.training.weights import load_vae
from model.upsampler import UpsamplerConfig


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with a VAE of a few steps, exported; its stage was cut off and started again."""
    runs = tmp_path_factory.mktemp("runs")
    train_vae.train(VaeRun(runs / "vae", minutes=0.02))
    first = json.loads((runs / "vae/state/state.json").read_text())
    train_vae.train(VaeRun(runs / "vae", minutes=0.04))
    second = json.loads((runs / "vae/state/state.json").read_text())
    assert first["step"] < second["step"]
    train_vae.export(runs / "vae", runs / "exported", clips=3)
    return runs


def test_polishing_changes_the_decoder_and_leaves_the_latents_as_they_are(exported, tmp_path):
    target = tmp_path / "exported"
    shutil.copytree(exported / "exported", target)
    before = load_vae(target)
    train_vae.polish(VaeRun(tmp_path / "polish", minutes=0.02, polish=target), target)
    after = load_vae(target)
    frames = torch.rand(1, 3, 5, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.equal(before.encode(frames), after.encode(frames))
        latents = before.encode(frames)
        assert not torch.equal(before.decode(latents), after.decode(latents))


def test_a_checkpoint_of_a_few_steps_goes_through_every_stage_and_renders(exported, tmp_path):
    folder = exported / "transformer"
    run = TransformerRun(
        folder, exported / "exported", minutes=0.05, tokens=300, clips=160, wait_for=32
    )
    train_transformer.train(run)
    first = json.loads((folder / "state/state.json").read_text())["step"]
    train_transformer.train(replace(run, minutes=0.1, loaders=1))
    assert first < json.loads((folder / "state/state.json").read_text())["step"]

    train_vae.export_half(exported / "exported", tmp_path)
    export.export(learner.averaged(folder), tmp_path, KINORA)
    pipeline = Pipeline.load(tmp_path)
    clip = torch.cat(list(pipeline.generate(Request("a red ball", frames=5, steps=2))))
    assert (5, 160, 256, 3) == tuple(clip.shape)
    assert clip.float().std() > 1
    again = learner.Learner()
    learner.take_weights(again, tmp_path)
    expected = learner.averaged(folder)
    for part in ("transformer", "text"):
        ours, theirs = (getattr(m, part).parameters() for m in (again, expected))
        assert all(torch.allclose(a, b, atol=1e-2) for a, b in zip(ours, theirs, strict=True))
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(sizes) < 60e6


def test_frames_that_the_model_makes_again_are_near_the_true_ones_where_little_noise_was(exported):
    networks = learner.Learner()
    clip = torch.randn(2, 16, 3, 4, 4)
    text = torch.zeros(2, 8, learner.TEXT_DIM)
    level = torch.tensor([0.01, 0.9])
    made = learner.remade(networks, clip, torch.randn_like(clip), text, level)
    error = (made - clip).abs().mean((1, 2, 3, 4))
    assert error[0] < 0.05 < error[1]
    assert not made.requires_grad


def test_another_process_can_compute_gradients_of_the_same_run(exported):
    folder = exported / "transformer"
    run = TransformerRun(folder, exported / "exported", tokens=300, clips=160)
    networks = learner.Learner()
    terms = train_transformer.prepare(networks, run)(torch.Generator().manual_seed(0), 0.5)
    assert {"truth"} < terms.keys()
    assert networks.transformer.blocks[0].attn1.to_q.weight.grad.abs().sum() > 0
    assert networks.text.shared.weight.grad.abs().sum() > 0


def test_a_reward_model_learns_from_the_drawn_clips_and_the_transformer_from_it(exported):
    folder = exported / "transformer"
    reward.train(folder, clips=160, minutes=0.05)
    judge = reward.load(folder / "reward.safetensors")
    assert not any(p.requires_grad for p in judge.parameters())
    run = TransformerRun(
        folder, exported / "exported", tokens=300, clips=160, reward=folder / "reward.safetensors"
    )
    before = json.loads((folder / "state/state.json").read_text())
    train_transformer.train(replace(run, minutes=before["minutes"] + 0.1, wait_for=32))
    after = json.loads((folder / "state/state.json").read_text())
    assert before["step"] < after["step"]
    backward = train_transformer.prepare(learner.Learner(), run)
    terms = [backward(torch.Generator().manual_seed(seed), 0.5) for seed in range(12)]
    assert any({"reward", "bent", "off", "right"} == t.keys() for t in terms)
    assert any({"truth"} < t.keys() for t in terms)


def test_a_stage_that_is_asked_for_less_time_than_it_had_keeps_its_time(exported):
    folder = exported / "transformer"
    before = json.loads((folder / "state/state.json").read_text())
    run = TransformerRun(folder, exported / "exported", tokens=300, clips=160, wait_for=32)
    train_transformer.train(replace(run, minutes=before["minutes"] / 2))
    after = json.loads((folder / "state/state.json").read_text())
    assert before["step"] == after["step"]
    assert after["minutes"] >= before["minutes"]

    before = json.loads((exported / "vae/state/state.json").read_text())
    train_vae.train(VaeRun(exported / "vae", minutes=before["minutes"] / 2))
    after = json.loads((exported / "vae/state/state.json").read_text())
    assert before["step"] == after["step"]
    assert after["minutes"] >= before["minutes"]


def test_a_rehearsal_has_lessons_of_every_kind_of_several_clips():
    pools = train_transformer.noisy_pools("cpu")
    frames = set()
    for seed in range(40):
        lesson = draw_lesson(2000, pools, torch.Generator().manual_seed(seed))
        assert len(lesson.clips.scenes) > 1
        frames.add(lesson.clips.latents.shape[2])
    assert {1, 3, 7, 17} <= frames


def test_wishes_are_openings_of_every_length_or_go_on_from_given_frames(exported):
    folder = exported / "transformer"
    pools = new_pools(16, 160, folder=folder / "pool", device="cpu")
    tokenizer = plain_tokenizer(folder)
    openings, on, named, gone_on = Counter[int](), Counter[int](), Counter[int](), 0
    for seed in range(90):
        lesson = draw_wishes(1200, pools, torch.Generator().manual_seed(seed))
        frames = lesson.clips.latents.shape[2]
        assert lesson.clips.coverage.shape[:2] == lesson.clean.shape
        assert lesson.spoken.all() and len(lesson.spoken) == len(lesson.clean)
        for i, row in enumerate(lesson.clips.ids.tolist()):
            text = tokenizer.decode(row)
            shapes = [SHAPES[int(scenes.shape[i])] for scenes, _ in lesson.clips.objects]
            said = (captions.WORDS[shape] + captions.RARER[shape] for shape in shapes)
            if all(any(word in text for word in words) for words in said):
                named[len(shapes)] += 1
            else:
                named[0] += 1  # a typo
        if lesson.own is None:
            openings[frames] += 1
            assert not lesson.clean.any()
        else:
            on[frames] += 1
            assert not lesson.clean.all(1).any()
            later = lesson.clips.later  # a pool as small as some here may have openings alone
            assert lesson.clean.any(1)[later].all()
            gone_on += int(later.sum())
    assert gone_on > 3
    assert openings.keys() == {1, 3, 7, 17}
    assert on.keys() <= {7, 9, 17} and {7, 17} <= on.keys()
    assert 14 < on.total() < 41  # 27 are expected
    assert named[1] > 30 < named[2] and named[0] < 0.1 * named.total(), named


def test_wishes_that_go_on_are_always_given_something():
    pools = train_transformer.noisy_pools("cpu")
    for pool in pools:
        pool.records[1, :, -1] = 1.0  # a clip that does not open, beside one that does
    own = 0
    for seed in range(90):
        lesson = draw_wishes(1200, pools, torch.Generator().manual_seed(seed))
        if lesson.own is not None:
            own += 1
            assert lesson.clean.any()
            assert not lesson.clean.all(1).any()
    assert 14 < own < 41  # 27 are expected


def test_steps_show_stills_beginnings_and_windows_from_the_middle_of_longer_clips(exported):
    folder = exported / "transformer"
    pools = new_pools(16, 160, folder=folder / "pool", device="cpu")
    lengths, cut, own, bent, plain, twos, wrong = Counter[int](), 0, 0, 0, 0, 0, 0
    for seed in range(400):
        lesson = draw_lesson(300, pools, torch.Generator().manual_seed(seed))
        frames = lesson.clips.latents.shape[2]
        assert lesson.clean.shape == (len(lesson.clips.scenes), frames)
        assert not lesson.clean.all(1).any()
        lengths[frames] += 1
        later = lesson.clips.scenes.phase > 0
        assert torch.equal(later, lesson.clips.later)
        assert frames >= 4 or not later.any()
        if 3 < frames < 7:
            cut += 1
            assert later.all()
            assert lesson.clean.any(1).all()
        if lesson.own is not None:
            own += 1
            assert later.all() and lesson.own.max() < 1
        clips = lesson.clips
        twos += len(clips.objects) == 2
        is_wrong = (clips.bent != clips.latents).flatten(1).any(1)
        assert is_wrong[lesson.bent].all()
        assert not lesson.bent[~clips.wrong].any()
        wrong += int(clips.wrong.sum())
        assert (lesson.level[lesson.bent] > 0.2).all()
        bent += int(lesson.bent.sum())
        plain += int((~lesson.bent).sum())
    assert 0.05 < bent / plain < 0.3
    assert 0.2 < wrong / (bent + plain) < 0.8  # every second batch of most buckets
    assert lengths[1] > 60 and lengths[3] > 30 and lengths[7] > 60 and cut > 3
    assert 17 == max(lengths) and lengths[17] > 20
    assert own > 10
    assert 112 < twos < 194  # 153 are expected


def test_noise_levels_cover_all_and_lean_to_where_the_prompt_decides():
    levels = draw_level(20_000, torch.Generator().manual_seed(0))
    assert 0 <= levels.min() and levels.max() == 1
    assert 0.08 < (levels > 0.95).float().mean() < 0.25
    assert (levels > 0.5).float().mean() > 0.6
    assert (levels < 0.3).float().mean() > 0.08


def test_a_clip_that_does_not_open_always_has_some_given_frames():
    from model.training import scenes
    from model.training.pools import Clips

    generator = torch.Generator().manual_seed(1)
    batch = scenes.sample(64, generator, later=1.0)
    latents, ids = torch.zeros(64, 1, 7, 2, 2), torch.ones(64, 8, dtype=torch.long)
    objects = ((batch, torch.zeros(64, 7, 1, 1)),)
    clips = Clips(latents, objects, latents, ids, batch.phase > 0, batch.phase < 0)
    clean = draw_clean(clips, generator, next(b for b in BUCKETS if b.name == "wide"))
    assert clean.any(1).all()
    assert not clean.all(1).any()


def test_a_detector_that_was_cut_off_is_trained_further(tmp_path):
    run = DetectorRun(
        tmp_path / "detector", WEIGHTS, tmp_path / "detector.safetensors", minutes=0.1
    )
    train_detector.train(run)
    (first, before), detector = checkpoint_of(run.folder), load_file(run.target)
    assert torch.equal(before["average/mask.weight"], detector["mask.weight"])
    train_detector.train(replace(run, minutes=0.2))
    second, after = checkpoint_of(run.folder)
    assert first < second == after["steps"] > before["steps"]
    assert not torch.equal(before["average/mask.weight"], after["average/mask.weight"])
    finished = load_file(run.target)
    train_detector.train(replace(run, minutes=0.2))
    assert all(torch.equal(value, finished[k]) for k, value in load_file(run.target).items())


def checkpoint_of(folder: Path) -> tuple[int, dict[str, torch.Tensor]]:
    """Steps and tensors of a stage's state."""
    found = checkpoints.load(folder / "state")
    assert found is not None
    return found[1]["step"], found[0]


def test_an_upsampler_of_a_few_steps_is_gone_on_with_and_enlarges_clips(tmp_path):
    checkpoint = shutil.copytree(WEIGHTS, tmp_path / "weights")
    shutil.rmtree(checkpoint / "upsampler")
    run = UpsamplerRun(tmp_path / "upsampler", checkpoint, minutes=0.05)
    train_upsampler.train(run)
    first = json.loads((run.folder / "state/state.json").read_text())["step"]
    train_upsampler.train(replace(run, minutes=0.1))
    assert 0 < first < json.loads((run.folder / "state/state.json").read_text())["step"]
    train_upsampler.export(run.folder, checkpoint)
    again = replace(run, folder=tmp_path / "again", minutes=0.001)
    train_upsampler.train(again)  # begins with what was exported
    begun = load_file(again.folder / "state/state-0000001-0.safetensors")["master/conv_out.bias"]
    exported = load_upsampler(checkpoint / "upsampler", UpsamplerConfig()).conv_out.bias
    assert torch.allclose(begun, exported.detach().half().float(), atol=1e-3)
    pipeline = Pipeline.load(checkpoint)
    request = Request("a red ball", width=320, height=200, frames=1, steps=1)
    assert [(1, 200, 320, 3)] == [tuple(frames.shape) for frames in pipeline.generate(request)]


def test_patches_of_a_clip_show_the_same_place_small_and_large():
    maker = train_upsampler.Maker(WEIGHTS, past=8)
    for seed in range(4):
        small, large = maker.patches(torch.Generator().manual_seed(seed))
        assert (8, 10, 3, 48, 48) == tuple(small.shape)
        assert (8, 2, 3, 288, 288) == tuple(large.shape)
        shown = small[:, -2:].float()
        inner, reduced = shown[..., 6:-6, 6:-6], F.avg_pool2d(large.float().flatten(0, 1), 8)
        reduced, aside = reduced.unflatten(0, (8, 2)), shown[..., 6:-6, 0:36]
        assert (inner - reduced).abs().mean() < (aside - reduced).abs().mean()


def test_an_unknown_stage_and_a_wrong_flag_end_with_a_message(capsys):
    for arguments in (
        ["dance"],
        ["vae", "--minutes", "soon"],
        ["vae", "--minutes", "0"],
        ["vae", "--threads", "0"],
        ["transformer", "--loaders", "-1"],
        ["transformer", "--loaders", "1", "--workers", "2"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert 2 == ended.value.code
        assert "error: " in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named_before_anything_is_made(tmp_path, capsys):
    runs = tmp_path / "runs"
    assert 1 == main(["transformer", "--device", "cuda", "--runs", str(runs)])
    assert "--device cuda" in capsys.readouterr().err
    assert not runs.exists()


def test_a_device_that_pytorch_does_not_know_is_named(tmp_path, capsys):
    assert 1 == main(["vae", "--device", "gpu", "--runs", str(tmp_path)])
    assert "--device gpu" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["polish", "detector", "transformer", "export", "upsampler"])
def test_a_stage_without_an_autoencoder_says_which_stage_comes_first(tmp_path, capsys, stage):
    assert 1 == main([stage, "--runs", str(tmp_path), "--weights", str(tmp_path / "w")])
    assert "vae stage first" in capsys.readouterr().err


def test_a_stage_without_a_transformer_says_so_and_writes_nothing(exported, tmp_path, capsys):
    assert 1 == main(["reward", "--runs", str(tmp_path)])
    assert "transformer stage first" in capsys.readouterr().err
    shutil.copytree(exported / "exported", tmp_path / "exported")
    assert 1 == main(["export", "--runs", str(tmp_path), "--weights", str(tmp_path / "w")])
    assert "transformer stage first" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_weights_of_another_shape_are_not_begun_with(tmp_path):
    with pytest.raises(ValueError, match="cannot begin"):
        learner.take_weights(learner.Learner(), tmp_path)
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer/diffusion_pytorch_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ValueError, match="cannot begin"):
        learner.take_weights(learner.Learner(), tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert 1 == main(["vae", "--runs", str(tmp_path / "file")])
    assert "file" in capsys.readouterr().err


def test_a_damaged_state_is_not_trained_over(exported, tmp_path):
    state = tmp_path / "vae" / "state"
    checkpoints.save(state, {"steps": torch.tensor(1)}, {"step": 1, "minutes": 0.0})
    next(state.glob("*.safetensors")).write_bytes(b"")
    with pytest.raises(ValueError, match="Delete the folder"):
        train_vae.train(VaeRun(tmp_path / "vae", minutes=0.01))
