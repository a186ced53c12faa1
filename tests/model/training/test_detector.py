"""The shipped detector: right about rendered truth, and not fooled by pictures that are wrong."""

from dataclasses import replace

import pytest
import torch

from model.training import rendering, scenes
from model.training.cases import cases, right
from model.training.detector import ATTRIBUTES, SHIPPED, load


@pytest.fixture(scope="module")
def detector():
    return load(SHIPPED)


def test_rendered_truth_is_read_as_it_was_drawn(detector):
    asked = cases(32)
    verdicts = [right(detector.look(c.real()), c.scene) for c in asked]
    for name in ATTRIBUTES:
        known = [v[name] for v in verdicts if v[name] is not None]
        assert sum(known) / len(known) >= 0.96, name


def test_noise_and_empty_pictures_show_no_object(detector):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 3, 9, 96, 128, generator=generator).clamp(-1, 1)
    for clip in (noise, torch.zeros(2, 3, 9, 96, 128)):
        seen = detector.look(clip)
        assert [-1, -1] == seen.shape.tolist()
        assert [-1, -1] == seen.motion.tolist()


def test_a_clip_that_stands_still_is_never_taken_for_a_moving_one(detector):
    generator = torch.Generator().manual_seed(3)
    batch = scenes.sample(16, generator)
    still = replace(batch, motion=torch.full((16,), scenes.MOTIONS.index("still")))
    frames, _ = rendering.render(still, 9, 128, 128)
    seen = detector.look(frames)
    assert (seen.motion == scenes.MOTIONS.index("still")).float().mean() >= 0.9


def test_frames_that_are_all_the_first_are_not_taken_for_the_motion_that_was_asked_for(detector):
    moving = [c for c in cases(16) if c.scene.motion != scenes.MOTIONS.index("still")]
    taken_in = 0
    for case in moving:
        clip = case.real()
        seen = detector.look(clip[:, :, :1].expand_as(clip))
        taken_in += int(seen.motion == case.scene.motion)
    assert len(moving) >= 10 and taken_in <= 1


@pytest.mark.parametrize("name", ["shape", "colour"])
def test_another_shape_or_colour_is_not_taken_for_the_one_asked_for(detector, name):
    count = len(scenes.SHAPES if name == "shape" else scenes.COLOURS)
    told: list[bool] = []
    for case in cases(16, seed=9):
        other = replace(case.scene, **{name: (getattr(case.scene, name) + 1) % count})
        verdict = right(detector.look(replace(case, scene=other).real()), case.scene)
        if verdict[name] is not None:  # the style shows colours
            told.append(verdict[name] is False)
    assert len(told) >= 10 and sum(told) >= 0.9 * len(told)


def test_another_object_is_not_taken_for_the_one_asked_for(detector):
    wrong = 0
    for case in cases(16, seed=9):
        other = replace(
            case.scene,
            shape=(case.scene.shape + 1) % len(scenes.SHAPES),
            colour=(case.scene.colour + 1) % len(scenes.COLOURS),
        )
        frames, _ = rendering.render(other, 25, case.height, case.width)
        verdict = right(detector.look(frames), case.scene)
        wrong += verdict["shape"] is False
    assert wrong >= 14


def test_a_damaged_detector_is_named(tmp_path):
    path = tmp_path / "detector.safetensors"
    path.write_bytes(SHIPPED.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"detector\.safetensors: is damaged"):
        load(path)
