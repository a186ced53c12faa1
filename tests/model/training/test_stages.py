"""The stages of training end to end, a few steps each: resumed, exported, loaded, used."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model import Pipeline, Request
from model.training import (
    checkpoints,
    export,
    learner,
    train_transformer,
    train_vae,
    train_words,
)
from model.training.__main__ import KINORA, WEIGHTS, main
from model.training.train_transformer import TransformerRun
from model.training.train_vae import VaeRun
from model.training.train_words import WordsRun
from model.training.weights import load_vae


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


def test_an_autoencoder_goes_on_from_the_shipped_one_and_keeps_the_scale_of_its_latents(tmp_path):
    target = tmp_path / "exported"
    train_vae.polish(VaeRun(tmp_path / "polish", minutes=0.05, lr=2e-4, start=WEIGHTS), target)
    before, after = load_vae(WEIGHTS), load_vae(target)
    generator = torch.Generator().manual_seed(1)
    frames = train_vae.crops(generator, 1, "cpu")[:2]
    with torch.no_grad():
        ours, theirs = before.encode(frames), after.encode(frames)
    assert not torch.equal(ours, theirs)
    assert 0.9 < theirs.std() / ours.std() < 1.1


def test_a_checkpoint_of_a_few_steps_goes_through_every_stage_and_renders(exported, tmp_path):
    folder, words = exported / "transformer", exported / "words"
    train_words.train(WordsRun(words, minutes=0.03, batch=8))
    run = TransformerRun(
        folder, exported / "exported", minutes=0.1, until=0.05, tokens=300, clips=160,
        wait_for=32, pixels=1_500_000, start=words,
    )  # fmt: skip
    train_transformer.train(run)
    first = json.loads((folder / "state/state.json").read_text())
    assert 0.05 == first["minutes"]
    train_transformer.train(replace(run, until=None, loaders=1))
    second = json.loads((folder / "state/state.json").read_text())
    assert first["step"] < second["step"] and 0.1 == second["minutes"]

    train_vae.export_half(exported / "exported", tmp_path)
    export.export(folder, tmp_path, KINORA)
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


def test_a_text_encoder_that_has_learnt_from_captions_alone_reads_them(tmp_path):
    train_words.train(WordsRun(tmp_path, minutes=0.25, batch=24))
    taught, untaught = learner.Learner(), learner.Learner()
    learner.take_weights(taught, tmp_path)
    scores = [train_words.score(each, each.said, count=128) for each in (taught, untaught)]
    for name in ("background", "style"):
        assert scores[0][name] > scores[1][name] + 0.2, scores


def test_an_unknown_stage_and_a_wrong_flag_end_with_a_message(capsys):
    for arguments in (["dance"], ["vae", "--minutes", "soon"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert 2 == ended.value.code
    assert "soon" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named_before_anything_is_made(tmp_path, capsys):
    runs = tmp_path / "runs"
    assert 1 == main(["transformer", "--device", "cuda", "--runs", str(runs)])
    assert "--device cuda" in capsys.readouterr().err
    assert not runs.exists()


def test_a_stage_without_what_it_needs_says_which_stage_comes_first(tmp_path, capsys):
    assert 1 == main(["export", "--runs", str(tmp_path), "--weights", str(tmp_path / "w")])
    assert "vae" in capsys.readouterr().err


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
