"""The denoise loop: from noise to latents, one visible step after another."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from model import solvers
from model.conditioning import Conditioning
from model.schedule import Schedule

__all__ = ["DenoiseState", "Experts", "Velocity", "denoise"]

#: Velocity of latents [1 c t h w] at a time [1] or [1 t].
Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Experts:
    """The velocity field, or two of them: `high` from timestep `boundary` upwards, `low` below."""

    high: Velocity
    low: Velocity | None = None
    boundary: float = 0.0

    def at(self, timestep: float) -> Velocity:
        return self.high if self.low is None or timestep >= self.boundary else self.low


@dataclass(frozen=True, slots=True)
class DenoiseState:
    """Where the loop stands after `step` steps; all that the next step needs.

    `estimate` is the clean clip as the last step saw it, for a look in between; it is not saved.
    """

    step: int
    latents: Float[Tensor, "1 c t h w"]
    solver: solvers.SolverState = field(default_factory=solvers.SolverState)
    estimate: Float[Tensor, "1 c t h w"] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The state as a flat dict, for a file; `from_tensors` reads it."""
        solver = {f"solver.{name}": value for name, value in self.solver.tensors().items()}
        return {"step": torch.tensor(self.step), "latents": self.latents, **solver}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "DenoiseState":
        """The state that `tensors()` wrote."""
        solver = {
            name.removeprefix("solver."): value
            for name, value in tensors.items()
            if name.startswith("solver.")
        }
        return cls(int(tensors["step"]), tensors["latents"], solvers.SolverState(**solver))


def denoise(
    schedule: Schedule, experts: Experts, conditioning: Conditioning, state: DenoiseState
) -> Iterator[DenoiseState]:
    """Go on from `state` to the end of `schedule`, yielding the state after every step.

    `state.latents` at step 0 is float32 at noise level `schedule.sigmas[0]`. Clean frames are put
    back after each step, so the last state's latents hold them exactly.
    """
    x = conditioning.impose(state.latents)
    solver = state.solver
    for i in range(state.step, schedule.steps):
        t = schedule.timesteps[i].item()
        velocity = experts.at(t)
        v = velocity(conditioning.model_input(x), conditioning.timestep(t))
        estimate = x - schedule.sigmas[i].item() * v
        x, solver = solvers.step(schedule, i, x, v, solver)
        x = conditioning.impose(x)
        yield DenoiseState(i + 1, x, solver, estimate)
