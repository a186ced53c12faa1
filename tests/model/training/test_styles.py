"""Styles: what they do to backgrounds and to objects."""

import pytest
import torch

from model.training import rendering, scenes
from model.training.scenes import BACKGROUNDS, COLOURS, GRAY, MOTIONS, SHAPES, STYLES, Scenes
from model.training.styles import DIM


def shown(style: str, background: str, shape: str = "car", colour: str = "red") -> Scenes:
    batch = scenes.sample(1, torch.Generator().manual_seed(0))
    batch.style[:], batch.background[:] = STYLES.index(style), BACKGROUNDS.index(background)
    batch.shape[:], batch.colour[:] = SHAPES.index(shape), COLOURS.index(colour)
    batch.motion[:], batch.size[:] = MOTIONS.index("still"), 1
    return batch


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_neon_is_dark_around_and_bright_on_the_lines(background: str) -> None:
    frames, coverage = rendering.render(shown("neon", background), 1, 96, 160)
    assert (frames[0, :, 0].mean(0)[:, :12] < -0.35).all()
    assert frames[0, 0, 0][coverage[0, 0] > 0].max() > 0.6


@pytest.mark.parametrize("style", GRAY)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_film_and_pencil_have_no_colours(style: str, background: str) -> None:
    frames, _ = rendering.render(shown(style, background), 2, 64, 96)
    assert (frames.amax(1) - frames.amin(1)).max() < 1e-5


@pytest.mark.parametrize("background", DIM)
@pytest.mark.parametrize("shape", ["ball", "car", "person"])
def test_on_film_objects_stand_out_from_what_is_about_them(background: str, shape: str) -> None:
    frames, coverage = rendering.render(shown("bw", background, shape), 1, 96, 160)
    inside = frames[0, 0, 0][coverage[0, 0] == 1]
    ground = frames[0, 0, 0][coverage[0, 0] == 0]
    assert abs(float(inside.mean() - ground.mean())) > 0.4


@pytest.mark.parametrize("style", STYLES)
def test_parts_of_figures_are_seen_in_all_styles(style: str) -> None:
    frames, coverage = rendering.render(shown(style, "white"), 1, 160, 160)
    inside = frames[0, :, 0][:, coverage[0, 0] == 1]
    assert inside.std(1).max() > 0.05


def test_watercolour_is_paler_and_its_edges_are_soft() -> None:
    wet, cover = rendering.render(shown("watercolour", "desert", "ball"), 1, 160, 160)
    dry, sharp = rendering.render(shown("flat", "desert", "ball"), 1, 160, 160)
    assert wet.mean() > dry.mean() + 0.1

    def soft(cover: torch.Tensor) -> torch.Tensor:
        return ((cover > 0.05) & (cover < 0.95)).sum()

    assert soft(cover) > 1.3 * soft(sharp)
