"""Gradients computed beside the trainer."""

import time

import torch
from torch import nn

from model.training.parallel import Helpers


def prepare(model: nn.Linear, value: float):
    """A process whose every gradient is `value` for the weight, and nothing for the bias."""

    def backward(generator, done):
        model.weight.grad = torch.full_like(model.weight, value + done)
        return {}

    return backward


def test_the_trainers_gradients_are_averaged_with_those_laid_down_beside_it():
    model = nn.Linear(2, 2)
    helpers = Helpers(1, model, prepare, (5.0,), seed=0)
    try:
        deadline = time.monotonic() + 60
        while helpers.gradients.count == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        count = helpers.join_in(model, done=0.0)
        assert count > 0
        assert torch.allclose(model.weight.grad, torch.tensor((1 + 5.0 * count) / (1 + count)))
        assert torch.allclose(model.bias.grad, torch.tensor(1 / (1 + count)))
    finally:
        helpers.close()
    for process in helpers.processes:
        process.join(10)
        assert not process.is_alive()


def test_a_gradient_that_the_trainers_own_step_does_not_have_is_not_lost():
    model = nn.Linear(2, 2)
    helpers = Helpers(0, model, prepare, (), seed=0)
    beside = nn.Linear(2, 2)
    beside.weight.grad = torch.full((2, 2), 6.0)
    helpers.gradients.add(beside)
    model.bias.grad = torch.ones(2)
    assert helpers.join_in(model, done=0.0) == 1
    assert torch.equal(model.weight.grad, torch.full((2, 2), 3.0))
    assert torch.equal(model.bias.grad, torch.full((2,), 0.5))


def test_what_is_trained_lies_where_other_processes_see_it():
    model = nn.Linear(2, 2)
    Helpers(0, model, prepare, (0.0,), seed=0)
    assert all(parameter.is_shared() for parameter in model.parameters())


def test_without_helpers_gradients_stay_as_they_are():
    model = nn.Linear(2, 2)
    helpers = Helpers(0, model, prepare, (), seed=0)
    model.weight.grad = torch.ones(2, 2)
    assert helpers.join_in(model, done=0.5) == 0
    assert torch.equal(model.weight.grad, torch.ones(2, 2))
