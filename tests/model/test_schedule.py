"""The grids, beside what tests/parity compares with diffusers."""

import pytest
import torch

from model.schedule import ScheduleConfig, schedule, schedule_from, shifted, tail, unshifted

UNIPC = {
    "_class_name": "UniPCMultistepScheduler",
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 5.0,
}


@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_noise_falls_from_one_to_zero(solver):
    sigmas = schedule(ScheduleConfig(solver, shift=3.0), 20).sigmas
    assert sigmas[0] == pytest.approx(1, abs=1e-5)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_unipc_tells_the_model_truncated_timesteps():
    told = schedule(ScheduleConfig("unipc", shift=3.0), 5).timesteps
    assert told.tolist() == [999, 923, 818, 667, 429]


def test_shifting_back_undoes_a_shift():
    assert unshifted(shifted(0.3, 5.0), 5.0) == pytest.approx(0.3)


@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_a_refining_grid_begins_at_the_level_asked_for(solver):
    plan = schedule_from(ScheduleConfig(solver, shift=3.0), 0.4, 3)
    assert plan.steps == 3
    assert plan.sigmas[0] == pytest.approx(0.4)
    assert plan.sigmas[-1] == 0


@pytest.mark.parametrize(("strength", "steps"), [(1.0, 10), (0.55, 5), (0.01, 1)])
def test_an_edit_takes_the_end_of_the_schedule(strength, steps):
    full = schedule(ScheduleConfig(), 10)
    part = tail(full, strength)
    assert part.steps == steps
    torch.testing.assert_close(part.sigmas, full.sigmas[10 - steps :])
    torch.testing.assert_close(part.timesteps, full.timesteps[10 - steps :])


def test_a_scheduler_file_is_read():
    assert ScheduleConfig.from_json(UNIPC) == ScheduleConfig("unipc", shift=5.0)
    euler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 7}
    assert ScheduleConfig.from_json(euler) == ScheduleConfig("euler", shift=7.0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"_class_name": "DDIMScheduler"}, "_class_name"),
        ({"_class_name": None}, "_class_name"),
        ({"prediction_type": "epsilon"}, "prediction_type"),
        ({"use_flow_sigmas": False}, "use_flow_sigmas"),
        ({"solver_order": 3}, "solver_order"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas"),
        ({"shift_terminal": 0.1}, "shift_terminal"),
    ],
)
def test_a_rule_that_is_not_written_here_is_refused(change, named):
    with pytest.raises(ValueError, match=rf"^{named}:"):
        ScheduleConfig.from_json(UNIPC | change)


def test_a_key_that_is_left_out_means_what_it_means_to_diffusers():
    without = {key: value for key, value in UNIPC.items() if key != "use_flow_sigmas"}
    with pytest.raises(ValueError, match=r"^use_flow_sigmas:"):
        ScheduleConfig.from_json(without)
