"""The noise levels that a sampler visits, as diffusers' two flow schedulers lay them out.

Flow matching mixes data and noise along a line, x_σ = (1 − σ)·x₀ + σ·ε (Lipman et al. 2023,
arXiv:2210.02747), so a schedule is a falling list of σ from about 1 to 0. `shift` s bends it
towards high noise, σ' = s·σ / (1 + (s − 1)·σ) (Esser et al. 2024, arXiv:2403.03206, eq. 23).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Solver = Literal["unipc", "euler"]

# λ = log((1 − σ)/σ) must stay finite at the first step of UniPC.
_UNIPC_FIRST_SIGMA_GAP = 1e-6

# What the two solvers here are written for; a scheduler file that asks for anything else is
# refused rather than sampled with the wrong rule.
_REQUIRED: dict[str, dict[str, tuple[Any, ...]]] = {
    "UniPCMultistepScheduler": {
        "prediction_type": ("flow_prediction",),
        "use_flow_sigmas": (True,),
        "solver_order": (2,),
        "solver_type": ("bh2",),
        "predict_x0": (True,),
        "lower_order_final": (True,),
        "final_sigmas_type": ("zero",),
        "thresholding": (False,),
        "disable_corrector": ([], None),
        "solver_p": (None,),
        "use_karras_sigmas": (False, None),
        "use_exponential_sigmas": (False, None),
        "use_beta_sigmas": (False, None),
        "use_dynamic_shifting": (False, None),
        "shift_terminal": (None, 0),
    },
    "FlowMatchEulerDiscreteScheduler": {
        "use_dynamic_shifting": (False, None),
        "invert_sigmas": (False, None),
        "stochastic_sampling": (False, None),
        "use_karras_sigmas": (False, None),
        "use_exponential_sigmas": (False, None),
        "use_beta_sigmas": (False, None),
        "shift_terminal": (None, 0),
    },
}
# diffusers leaves a key out of the file when it was never set; these are the values it then takes.
_UNIPC_ABSENT: dict[str, Any] = {
    "prediction_type": "epsilon",
    "use_flow_sigmas": False,
    "solver_order": 2,
    "solver_type": "bh2",
    "predict_x0": True,
    "lower_order_final": True,
    "final_sigmas_type": "zero",
    "thresholding": False,
}


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """Which solver a checkpoint was made for, and how its grid is bent."""

    solver: Solver = "unipc"
    shift: float = 3.0
    train_steps: int = 1000

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "ScheduleConfig":
        """Read a `scheduler_config.json`; ValueError "<key>: …" for a rule not written here."""
        name = config.get("_class_name")
        if name not in _REQUIRED:
            raise ValueError(f"_class_name: {name!r} is not one of {sorted(_REQUIRED)}")
        absent = _UNIPC_ABSENT if name == "UniPCMultistepScheduler" else {}
        for key, allowed in _REQUIRED[name].items():
            value = config.get(key, absent.get(key, allowed[0]))
            if value not in allowed:
                raise ValueError(f"{key}: {value!r} is not supported, it must be {allowed[0]!r}")
        unipc = name == "UniPCMultistepScheduler"
        return cls(
            solver="unipc" if unipc else "euler",
            shift=float(config.get("flow_shift" if unipc else "shift", 1.0)),
            train_steps=int(config.get("num_train_timesteps", 1000)),
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Noise levels (n + 1 of them, the last is 0) and the `timesteps` the model is told."""

    solver: Solver
    sigmas: Float[Tensor, " levels"]
    timesteps: Float[Tensor, " steps"]

    @property
    def steps(self) -> int:
        return len(self.timesteps)


def shifted(sigma: Any, shift: float) -> Any:
    """σ' = s·σ / (1 + (s − 1)·σ), for a number or an array."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def unshifted(sigma: float, shift: float) -> float:
    """The inverse of `shifted`."""
    return sigma / (shift - (shift - 1) * sigma)


def schedule(config: ScheduleConfig, steps: int) -> Schedule:
    """The full grid, from pure noise to data, in `steps` steps.

    UniPC spreads σ evenly from 1 to 1/train_steps *without* its end point and tells the model
    whole timesteps (truncated, not rounded). Euler includes both ends, where the lower end is
    shifted twice, and tells fractional timesteps.
    """
    n = config.train_steps
    if config.solver == "unipc":
        sigmas = shifted(np.linspace(1, 1 / n, steps + 1)[:-1], config.shift)
        if abs(sigmas[0] - 1) < _UNIPC_FIRST_SIGMA_GAP:
            sigmas[0] -= _UNIPC_FIRST_SIGMA_GAP
    else:
        # Float32 as in diffusers, which keeps the lowest training level as a float32 tensor.
        ends = shifted(torch.tensor([1.0, 1 / n]), config.shift).tolist()
        sigmas = shifted(np.linspace(ends[0] * n, ends[1] * n, steps) / n, config.shift)
    return _with_timesteps(config, sigmas)


def schedule_from(config: ScheduleConfig, sigma: float, steps: int) -> Schedule:
    """A grid that begins at noise level `sigma` in (0, 1) instead of 1, for refining a clip.

    The levels are even before the shift, so they fall as the tail of a full schedule does.
    """
    start = unshifted(sigma, config.shift)
    return _with_timesteps(config, shifted(np.linspace(start, 0, steps + 1)[:-1], config.shift))


def tail(full: Schedule, strength: float) -> Schedule:
    """The last `strength` (0, 1] of a schedule's steps, for editing a clip: 1 keeps them all.

    The count is cut to a whole number and is at least one step.
    """
    kept = max(int(full.steps * strength), 1)
    return Schedule(full.solver, full.sigmas[-kept - 1 :], full.timesteps[-kept:])


def _with_timesteps(config: ScheduleConfig, sigmas: np.ndarray) -> Schedule:
    levels = torch.from_numpy(np.append(sigmas, 0.0).astype(np.float32))
    if config.solver == "unipc":
        timesteps = torch.from_numpy((sigmas * config.train_steps).astype(np.int64)).float()
    else:
        timesteps = levels[:-1] * config.train_steps
    return Schedule(config.solver, levels, timesteps)
