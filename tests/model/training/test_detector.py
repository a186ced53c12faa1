"""The shipped detector: right about rendered truth, and not fooled by pictures that are wrong."""

from dataclasses import replace

import pytest
import torch

from model.training import detector as detecting
from model.training import scenes, sight
from model.training.__main__ import WEIGHTS
from model.training.cases import cases, right
from model.training.detector import ATTRIBUTES, HEADS, SHIPPED, Detector, Lesson, load
from model.training.rendering import render
from model.training.weights import load_vae


@pytest.fixture(scope="module")
def detector():
    return load(SHIPPED)


def test_rendered_truth_is_read_as_it_was_drawn(detector):
    asked = cases(48)
    verdicts = [right(detector.look(c.real()), c.scene) for c in asked]
    for name in ATTRIBUTES:
        known = [v[name] for v in verdicts if v[name] is not None]
        assert sum(known) / len(known) >= 0.9, name


def test_noise_and_empty_pictures_show_no_object(detector):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 3, 9, 96, 128, generator=generator).clamp(-1, 1)
    for clip in (noise, torch.zeros(2, 3, 9, 96, 128)):
        seen = detector.look(clip)
        assert [-1, -1] == seen.shape.tolist()
        assert [-1, -1] == seen.motion.tolist()


def test_a_clip_that_stands_still_is_never_taken_for_a_moving_one(detector):
    generator = torch.Generator().manual_seed(3)
    batch = scenes.sample(16, generator, layout="alone", camera="fixed")
    frames, _ = render(batch, 1, 128, 128)
    seen = detector.look(frames.expand(-1, -1, 25, -1, -1))
    assert (seen.motion == scenes.MOTIONS.index("still")).float().mean() >= 0.9


def test_a_camera_is_seen_to_move_where_there_is_something_to_see_it_by(detector):
    generator = torch.Generator().manual_seed(5)
    found = []
    for name in scenes.CAMERAS:
        batch = scenes.sample(8, generator, layout="alone", camera=name)
        background = torch.full((8,), scenes.BACKGROUNDS.index("city"))
        frames, _ = render(replace(batch, background=background), 25, 128, 128)
        found.append(detector.look(frames).camera == scenes.CAMERAS.index(name))
    assert torch.stack(found).float().mean() >= 0.9


def test_another_object_is_not_taken_for_the_one_asked_for(detector):
    wrong = 0
    for case in cases(16, seed=9):
        other = replace(case.scene, shape=(case.scene.shape + 1) % len(scenes.SHAPES))
        frames, _ = render(other, 25, case.height, case.width)
        verdict = right(detector.look(frames), case.scene)
        wrong += verdict["shape"] is False
    assert wrong >= 14


def test_an_untrained_detector_looks_at_clips_of_any_length_and_size():
    detector = Detector().eval()
    for clip in (torch.zeros(1, 3, 1, 96, 96), torch.zeros(2, 3, 70, 85, 256)):
        seen = detector.look(clip)
        assert (len(clip), detecting.SAMPLES, 3) == seen.track.shape
        for name in HEADS:
            assert getattr(seen, name).shape == (len(clip),)


@pytest.mark.parametrize("through", [False, True])
def test_lessons_show_what_they_say(through):
    vae = load_vae(WEIGHTS) if through else None
    for seed in range(1 if through else 6):
        lesson = detecting.draw(4, torch.Generator().manual_seed(seed), "cpu", vae)
        b, _, f, h, w = lesson.frames.shape
        assert (4, detecting.SAMPLES, detecting.HEIGHT) == (b, f, min(h, w))
        assert (4, f, h // 4, w // 4) == lesson.mask.shape
        assert lesson.mask.min() >= 0 and lesson.mask.max() <= 1
        for name, names in HEADS.items():
            assert set(lesson.truth[name].tolist()) <= set(range(-1, len(names)))


def test_every_head_learns_from_a_lesson_and_only_from_what_can_be_told():
    detector, lesson = Detector(), detecting.draw(2, torch.Generator().manual_seed(1), "cpu")
    sum(detecting.loss_of(detector, lesson).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    hidden = {name: torch.full_like(v, -1) for name, v in lesson.truth.items()}
    losses = detecting.loss_of(detector, Lesson(lesson.frames, lesson.mask, hidden))
    assert [0.0] * len(HEADS) == [float(losses[name].detach()) for name in HEADS]


def test_training_leaves_a_small_file_that_loads(tmp_path):
    minutes = 0.05
    detector = detecting.train(tmp_path, load_vae(WEIGHTS), minutes=minutes, batch=4)
    path = tmp_path / "detector.safetensors"
    assert path.stat().st_size < 4e6
    for name, weight in load(path).state_dict().items():
        assert torch.allclose(weight, detector.state_dict()[name], atol=1e-2), name


def test_the_flow_of_what_moves_is_measured():
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(1, 1, 48, 160, generator=generator)
    for _ in range(2):  # smooth, 32 by 144
        wide = torch.nn.functional.avg_pool2d(wide, 9, 1)
    maps = torch.stack([wide[..., i : i + 64] for i in range(10)], 1)
    x = ((torch.arange(64) + 0.5) / 32 - 1) * 2
    y = (((torch.arange(32) + 0.5) / 16) - 1)[:, None]
    clear = torch.ones(1, 10, 1, 32, 64)
    found = sight.flow(maps, clear, x, y, 0.1)[0]
    step = float(x[0] - x[1])  # a cell to the left, every frame
    assert found[0] == pytest.approx(step, rel=0.25)
    assert found[1:].abs().max() < 0.1 * abs(step)
    assert sight.flow(maps[:, :1].expand_as(maps), clear, x, y, 0.1).abs().max() < 1e-6


def test_objects_stand_above_each_other_where_a_picture_is_tall():
    tall = [detecting.stacked(layout, 256, 160) for layout in detecting.PARTS]
    wide = [detecting.stacked(layout, 160, 256) for layout in detecting.PARTS]
    assert ([False, True, True], [False, True, False]) == (tall, wide)


def test_a_close_up_shows_an_object_alike_wherever_and_however_large_it_is():
    x, y = sight.ruler(64, 2, torch.zeros(1)), sight.ruler(32, 1, torch.zeros(1))[:, None]
    discs = [(0.0, 0.0, 0.6), (-1.2, 0.3, 0.4)]
    depths = [r - ((x - u) ** 2 + (y - v) ** 2).sqrt() for u, v, r in discs]
    mask = (torch.stack(depths)[:, None] / 0.06 + 0.5).clamp(0, 1)
    pictures = mask.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)
    first, second = sight.close_up(pictures, mask, x, y)
    assert (first - second).abs().mean() < 0.05
    assert first[:, 16, 16].tolist() == pytest.approx([1, 1, 1, 1])
