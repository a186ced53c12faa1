"""One step of the probability-flow ODE: UniPC of order two, and Euler.

A solver is a pure function `(schedule, i, x, v, state) -> (x, state)`: it moves the sample `x` from
σ_i to σ_{i+1}, given the velocity `v` that the model predicted at `x`. What a multistep solver
remembers is the explicit `SolverState`, plain tensors, so that a job can be saved in the middle and
go on elsewhere. Samples and velocities are float32.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from model.schedule import Schedule


@dataclass(frozen=True, slots=True)
class SolverState:
    """What UniPC remembers between steps; all None at the start, and always for Euler.

    `sample` is the (corrected) sample the last step left from; `data` the model's estimate of the
    clean data at that step, `data_before` the one a step earlier.
    """

    sample: Tensor | None = None
    data: Tensor | None = None
    data_before: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What is remembered, by name, for saving; `SolverState(**tensors)` reads it back."""
        named = {"sample": self.sample, "data": self.data, "data_before": self.data_before}
        return {name: value for name, value in named.items() if value is not None}


def step(
    schedule: Schedule,
    i: int,
    x: Float[Tensor, "b c t h w"],
    v: Float[Tensor, "b c t h w"],
    state: SolverState,
) -> tuple[Float[Tensor, "b c t h w"], SolverState]:
    """Take step `i` of `schedule` with its own solver."""
    solve = unipc if schedule.solver == "unipc" else euler
    return solve(schedule, i, x, v, state)


def euler(
    schedule: Schedule,
    i: int,
    x: Float[Tensor, "b c t h w"],
    v: Float[Tensor, "b c t h w"],
    state: SolverState,
) -> tuple[Float[Tensor, "b c t h w"], SolverState]:
    """x_{i+1} = x_i + (σ_{i+1} − σ_i)·v."""
    return x + (schedule.sigmas[i + 1] - schedule.sigmas[i]).item() * v, state


def unipc(
    schedule: Schedule,
    i: int,
    x: Float[Tensor, "b c t h w"],
    v: Float[Tensor, "b c t h w"],
    state: SolverState,
) -> tuple[Float[Tensor, "b c t h w"], SolverState]:
    """UniPC-2 with B(h) = e^{−h} − 1 ("bh2") on data predictions (arXiv:2302.04867, alg. 7 and 8).

    The step first corrects `x` with the new prediction (UniC), then predicts onwards (UniP), both
    of order one where only one prediction is known. The last step goes to sigma 0, where the
    prediction of order one, diffusers' "lower_order_final", is the predicted data itself.
    """
    data = x - schedule.sigmas[i].item() * v
    sigmas: list[float] = schedule.sigmas.tolist()
    if i > 0:
        x = _correct(sigmas, i, data, state, order=min(2, i))
    moved = _predict(sigmas, i, x, data, state, order=min(2, i + 1))
    return moved, SolverState(sample=x, data=data, data_before=state.data)


def _predict(
    sigmas: list[float], i: int, x: Tensor, data: Tensor, state: SolverState, *, order: int
) -> Tensor:
    """UniP: from `x` at σ_i to σ_{i+1}."""
    if sigmas[i + 1] == 0:
        return data
    h, ratio, growth = _interval(sigmas, i)
    moved = ratio * x - growth * data
    if order == 2:
        # ρ = 1/2 is the paper's own simplification for order two.
        slope = (_required(state.data) - data) / ((_lambda(sigmas[i - 1]) - _lambda(sigmas[i])) / h)
        moved = moved - 0.5 * growth * slope
    return moved


def _correct(
    sigmas: list[float], i: int, data: Tensor, state: SolverState, *, order: int
) -> Tensor:
    """UniC: the last step again, from its start, now that the prediction at its end is known."""
    start, last = _required(state.sample), _required(state.data)
    h, ratio, growth = _interval(sigmas, i - 1)
    if order == 1:
        slopes = 0.5 * (data - last)
    else:
        r = (_lambda(sigmas[i - 2]) - _lambda(sigmas[i - 1])) / h
        # R·ρ = b with R = [[1, 1], [r, 1]]: eq. 9 of the paper, solved by hand.
        decay = math.expm1(-h)
        phi_2 = decay / -h - 1
        phi_3 = phi_2 / -h - 0.5
        b1, b2 = phi_2 / decay, 2 * phi_3 / decay
        rho_before = (b1 - b2) / (1 - r)
        rho_new = b1 - rho_before
        slopes = rho_before * (_required(state.data_before) - last) / r + rho_new * (data - last)
    return ratio * start - growth * last - growth * slopes


def _interval(sigmas: list[float], i: int) -> tuple[float, float, float]:
    """h = λ_{i+1} − λ_i, σ_{i+1}/σ_i, and α_{i+1}·(e^{−h} − 1)."""
    h = _lambda(sigmas[i + 1]) - _lambda(sigmas[i])
    return h, sigmas[i + 1] / sigmas[i], (1 - sigmas[i + 1]) * math.expm1(-h)


def _lambda(sigma: float) -> float:
    """Half the log signal-to-noise ratio, log(α/σ) with α = 1 − σ."""
    return math.log((1 - sigma) / sigma)


def _required(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("state: a step after the first needs the state that the last one returned")
    return tensor
