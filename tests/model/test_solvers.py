"""The solvers on an equation whose solution is known."""

import pytest
import torch

from model import solvers
from model.schedule import ScheduleConfig, schedule

# Data distributed as N(MEAN, SPREAD²): the velocity field of its flow is known in closed form.
MEAN, SPREAD = 0.7, 0.35


def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """E[noise − data | x] for x = (1 − σ)·data + σ·noise."""
    variance = (1 - sigma) ** 2 * SPREAD**2 + sigma**2
    residual = x - (1 - sigma) * MEAN
    return residual * (sigma - (1 - sigma) * SPREAD**2) / variance - MEAN


def integrate(solver: str, steps: int, x: torch.Tensor) -> torch.Tensor:
    plan, state = schedule(ScheduleConfig(solver, shift=1.0), steps), solvers.SolverState()
    for i in range(plan.steps):
        x, state = solvers.step(plan, i, x, velocity(x, plan.sigmas[i].item()), state)
    return x


def error(solver: str, steps: int) -> float:
    noise = torch.randn(1, 1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    # The flow carries noise to data along straight quantiles.
    return (integrate(solver, steps, noise) - (MEAN + SPREAD * noise)).abs().max().item()


@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_more_steps_come_closer_to_the_solution(solver):
    errors = [error(solver, steps) for steps in (10, 20, 40, 80)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.03


def test_unipc_is_of_higher_order_than_euler():
    assert error("unipc", 20) < error("euler", 20) / 3


@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_one_step_gives_the_predicted_data(solver):
    plan = schedule(ScheduleConfig(solver), 1)
    x, v = torch.randn(2, 1, 2, 3, 4, 4)
    moved, _ = solvers.step(plan, 0, x, v, solvers.SolverState())
    torch.testing.assert_close(moved, x - plan.sigmas[0] * v)


def test_a_saved_state_goes_on_to_the_same_bits():
    plan, x, state = schedule(ScheduleConfig("unipc"), 6), torch.randn(1, 2, 3, 4, 4), None
    state = solvers.SolverState()
    for i in range(plan.steps):
        saved = {name: value.clone() for name, value in state.tensors().items()}
        v = velocity(x, plan.sigmas[i].item())
        again, _ = solvers.step(plan, i, x, v, solvers.SolverState(**saved))
        x, state = solvers.step(plan, i, x, v, state)
        assert torch.equal(again, x)


def test_a_step_in_the_middle_without_its_state_is_refused():
    plan, x = schedule(ScheduleConfig("unipc"), 6), torch.randn(1, 2, 3, 4, 4)
    with pytest.raises(ValueError, match="state"):
        solvers.step(plan, 2, x, x, solvers.SolverState())
