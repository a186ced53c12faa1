"""Schedules and solvers against diffusers' schedulers, on the same velocities."""

import json

import diffusers
import pytest
import torch

from model import solvers
from model.schedule import ScheduleConfig, schedule, tail

pytestmark = pytest.mark.parity


def reference(solver: str, shift: float):
    if solver == "euler":
        return diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )


def config_of(scheduler) -> ScheduleConfig:
    return ScheduleConfig.from_json(json.loads(scheduler.to_json_string()))


def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
    """A velocity field that depends on everything a model's does."""
    return torch.sin(1.7 * x + t / 300) + 0.3 * x.flip(-1)


@pytest.mark.parametrize("solver", ["unipc", "euler"])
@pytest.mark.parametrize("shift", [1.0, 3.0, 12.0])
@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_the_grid_is_diffusers_grid(solver, shift, steps):
    scheduler = reference(solver, shift)
    scheduler.set_timesteps(steps)
    ours = schedule(config_of(scheduler), steps)
    torch.testing.assert_close(ours.sigmas, scheduler.sigmas, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(ours.timesteps, scheduler.timesteps.float(), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("solver", ["unipc", "euler"])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_a_trajectory_is_diffusers_trajectory(solver, steps, strength):
    scheduler = reference(solver, 3.0)
    scheduler.set_timesteps(steps)
    ours = tail(schedule(config_of(scheduler), steps), strength)
    expected = torch.randn(1, 3, 2, 4, 5, generator=torch.Generator().manual_seed(1))
    actual, state = expected, solvers.SolverState()
    for i, t in enumerate(scheduler.timesteps[-ours.steps :]):
        v = velocity(expected, float(t))
        expected = scheduler.step(v, t, expected, return_dict=False)[0]
        v = velocity(actual, float(ours.timesteps[i]))
        actual, state = solvers.step(ours, i, actual, v, state)
        # The reference solves its coefficients in float32, ours in float64.
        torch.testing.assert_close(actual, expected, rtol=2e-4, atol=2e-4)
