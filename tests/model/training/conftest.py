"""Scenes by the names of their attributes, and the shipped weights with who judges them."""

import pytest
import torch

from model import Pipeline
from model.training import detector
from model.training.__main__ import WEIGHTS
from model.training.judge import Judge
from model.training.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, STYLES, Scenes
from model.training.weights import load_vae

TABLES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "motion": MOTIONS,
    "background": BACKGROUNDS,
    "style": STYLES,
}
USUAL = {
    "shape": "ball",
    "colour": "red",
    "motion": "still",
    "background": "white",
    "style": "flat",
}


@pytest.fixture(scope="session")
def named():
    """A scene of one object in the middle, with attributes of such names."""

    def named(**names: str) -> Scenes:
        found = {
            key: torch.tensor([TABLES[key].index(name)]) for key, name in (USUAL | names).items()
        }
        return Scenes(
            **found,
            size=torch.tensor([1]),
            speed=torch.tensor([1]),
            x=torch.zeros(1),
            y=torch.zeros(1),
            tint=torch.zeros(1, 3),
            seed=torch.full((1,), 0.3),
            phase=torch.zeros(1),
        )

    return named


@pytest.fixture(scope="session")
def judge():
    """The shipped weights, looked at by the shipped detector."""
    return Judge(Pipeline.load(WEIGHTS), detector.load(detector.SHIPPED), load_vae(WEIGHTS))
