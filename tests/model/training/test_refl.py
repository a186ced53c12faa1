"""Learning from a reward model: what it asks for, and that learners come to do it."""

import json

import torch

from app.embedded import default_checkpoint
from model.training import pairs, refl, scenes
from model.training.learner import TINY, Learner
from model.training.lessons import Lesson
from model.training.pools import Clips
from model.training.reward import Reward, cross_entropies
from model.training.scenes import COLOURS, GRAY, SHAPES, STYLES

CHECKPOINT = default_checkpoint()
CLASSES = {"shape": len(SHAPES), "colour": len(COLOURS)}


def clips_of(batch: scenes.Scenes, frames: int, covered: float = 1) -> Clips:
    latents = torch.zeros(len(batch), TINY.in_channels, frames, 4, 4)
    coverage = torch.full((len(batch), frames, 2, 2), float(covered))
    ids = torch.randint(2, 300, (len(batch), 12), generator=torch.Generator().manual_seed(3))
    return Clips(latents, ((batch, coverage),), latents, ids, batch.phase > 0, batch.phase < 0)


def lesson_of(clips: Clips, clean: torch.Tensor, own: torch.Tensor | None = None) -> Lesson:
    b = len(clips.ids)
    spoken, bent = torch.ones(b, dtype=torch.bool), torch.zeros(b, dtype=torch.bool)
    return Lesson(clips, spoken, clean, torch.ones(b), bent, own)


def test_colours_are_asked_of_objects_that_are_seen_in_styles_that_have_them():
    batch = scenes.sample(64, torch.Generator().manual_seed(0))
    seen = (torch.arange(64) % 2).float()[:, None]
    logits = {name: torch.zeros(64, 1, count) for name, count in CLASSES.items()}
    terms = cross_entropies(logits, batch, seen)
    coloured = ~torch.isin(batch.style, torch.tensor([*map(STYLES.index, GRAY)]))
    assert torch.equal(terms["shape"][:, 0] > 0, seen[:, 0] > 0)
    assert torch.equal(terms["colour"][:, 0] > 0, (seen[:, 0] > 0) & coloured)


def test_it_is_shown_what_a_request_gets_that_says_nothing_of_sampling():
    default = json.loads((CHECKPOINT / "kinora.json").read_text())["default"]
    asked = (refl.STEPS, refl.GUIDANCE, refl.SCHEDULE.shift)
    assert asked == (default["steps"], default["guidance"], default["flow_shift"])


def test_a_learner_comes_to_make_what_the_reward_model_wants():
    torch.manual_seed(0)
    learner, judge = Learner(), Reward(TINY.in_channels).requires_grad_(requires_grad=False)
    batch = scenes.sample(3, torch.Generator().manual_seed(1))
    clips = clips_of(batch, frames=1)
    lesson = lesson_of(clips, torch.zeros(3, 1, dtype=torch.bool))
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-3)
    losses: list[float] = []
    for _ in range(12):
        terms = refl.loss_of(learner, judge, lesson, torch.Generator().manual_seed(2))
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(float(terms["reward"]))
    assert losses[-1] < 0.85 * losses[0], losses
    assert learner.text.shared.weight.grad.abs().sum() > 0


def test_what_is_not_seen_is_not_asked_for():
    learner, judge = Learner(), Reward(TINY.in_channels)
    batch = scenes.sample(2, torch.Generator().manual_seed(1))
    clips = clips_of(batch, frames=1, covered=0)
    lesson = lesson_of(clips, torch.zeros(2, 1, dtype=torch.bool))
    terms = refl.loss_of(learner, judge, lesson, torch.Generator().manual_seed(2))
    assert float(terms["reward"]) == 0 == float(terms["right"])


def test_given_frames_are_not_judged():
    learner, judge = Learner(), Reward(TINY.in_channels)
    batch = scenes.sample(2, torch.Generator().manual_seed(1))
    clips = clips_of(batch, frames=3)
    clean, own = torch.tensor([[True, True, False]] * 2), torch.tensor([0.5, 0.7])
    generator = torch.Generator().manual_seed(2)
    terms = refl.loss_of(learner, judge, lesson_of(clips, clean, own), generator)
    assert float(terms["reward"]) > 0
    assert float(terms["bent"]) == 0 < float(terms["off"])
    every = lesson_of(clips, torch.ones_like(clean))
    assert float(refl.loss_of(learner, judge, every, generator)["reward"]) == 0


def test_of_two_objects_each_is_looked_at_where_it_is():
    pair = pairs.sample(12, torch.Generator().manual_seed(1))  # beside and above each other
    across = pairs.side_by_side(*pair)
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    place = torch.where(across[:, None, None], columns, rows).float()  # 0 to 3 along their line
    latents = place[:, None, None].expand(-1, TINY.in_channels, 2, -1, -1)
    covers = [(place < 2).float(), (place >= 2).float()]
    objects = tuple(
        (s, c[:, None].expand(-1, 2, -1, -1)) for s, c in zip(pair, covers, strict=True)
    )
    ids = torch.ones(12, 8, dtype=torch.long)
    clips = Clips(latents, objects, latents, ids, pair[0].phase > 0, pair[0].phase < 0)
    looked = [0, 0]
    for scenes_, coverage, which, part in refl.views(clips):
        k = int(part(latents).mean() > 1.5)
        looked[k] += len(which)
        assert torch.equal(part(latents).unique(), torch.tensor([0.0, 1.0]) + 2 * k)
        assert torch.equal(scenes_.colour, pair[k].colour[which])
        assert coverage.min() == 1
    assert looked == [12, 12] and 0 < across.sum() < 12
