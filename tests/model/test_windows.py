"""Clips longer than a checkpoint's window: one window after another, given what they share."""

import itertools
import json
import shutil

import pytest
import torch
from PIL import Image

from model import Pipeline, Request
from model.conditioning import Conditioning
from model.pipeline import Progress
from model.sampling import windows


@pytest.fixture(scope="module")
def windowed(checkpoint, tmp_path_factory):
    """The small checkpoint with windows of 9 frames, 3 latent ones, that share one or more."""
    folder = shutil.copytree(checkpoint, tmp_path_factory.mktemp("windowed") / "small")
    own = json.loads((folder / "kinora.json").read_text())
    own |= {"window_frames": 9, "window_overlap": 1, "max_frames": 81}
    (folder / "kinora.json").write_text(json.dumps(own))
    return Pipeline.load(folder)


def frames(pipeline, request, **more) -> torch.Tensor:
    return torch.cat(list(pipeline.generate(request, **more)))


@pytest.mark.parametrize("latents", range(1, 22))
def test_windows_cover_the_clip_and_share_enough(windowed, latents):
    spans = windows(windowed.config, latents)
    assert 0 == spans[0].start
    assert latents == spans[-1].stop
    assert all(s.stop - s.start <= 3 for s in spans)
    for before, after in itertools.pairwise(spans):
        assert before.start < after.start <= before.stop - 1


def test_a_long_clip_begins_with_its_first_window_alone(windowed):
    noise = torch.randn(1, 6, 7, 4, 6, generator=torch.Generator().manual_seed(1))
    long = frames(windowed, Request("red ball", frames=25), noise=noise)
    short = frames(windowed, Request("red ball", frames=9), noise=noise[:, :, :3])
    assert (25, 64, 96, 3) == tuple(long.shape)
    assert (long[:9].int() - short.int()).abs().max() <= 1


def test_a_window_goes_on_from_the_one_before(windowed):
    noise = torch.randn(1, 6, 5, 4, 6, generator=torch.Generator().manual_seed(2))
    other = noise.clone()
    other[:, :, 0] += 1
    first = frames(windowed, Request("red ball", frames=17), noise=noise)
    second = frames(windowed, Request("red ball", frames=17), noise=other)
    assert not torch.equal(first[9:], second[9:])


def test_a_first_and_a_last_picture_stay_at_the_ends_of_a_long_clip(windowed):
    blank = Image.new("RGB", (96, 64), (200, 30, 30))
    request = Request("red ball", frames=25, image=blank, last_image=blank)
    plain = Request("red ball", frames=25, image=blank)
    with_last, without = frames(windowed, request), frames(windowed, plain)
    assert torch.equal(with_last[:1], without[:1])
    assert not torch.equal(with_last[-4:], without[-4:])


def test_progress_counts_the_steps_of_all_windows(windowed):
    heard: list[Progress] = []
    frames(windowed, Request("red ball", frames=25, steps=2), on_step=heard.append)
    steps = [p.step for p in heard if p.stage == "denoise"]
    assert list(range(1, 2 * 3 + 1)) == steps


def test_what_is_done_is_given_to_the_next_window_beside_the_pictures():
    known = torch.zeros(1, 2, 6, 1, 1)
    known[:, :, 5] = 7
    clean = torch.tensor([False] * 5 + [True])
    past = torch.full((1, 2, 1, 1, 1), 3.0)
    given = Conditioning(clean, known).window(slice(3, 6), past)
    assert [True, False, True] == given.clean.tolist()
    assert given.known is not None
    assert [3, 0, 7] == given.known[0, 0, :, 0, 0].tolist()
