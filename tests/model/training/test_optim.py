"""Stepping weights: in stacks as one by one, averaged, and going on where they stopped."""

import pytest
import torch
from torch import nn

from model.training.optim import Weights, orthogonal


def network() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 3), nn.Conv2d(3, 4, 2)]
    return nn.Sequential(*parts)


def backward(model: nn.Module, seed: int) -> None:
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(seed))
    first, second, third, conv = model
    y = third(second(first(x)).tanh())
    (y.square().sum() + conv(y.view(5, 3, 1, 1).expand(5, 3, 2, 2)).square().sum()).backward()


def test_stacked_matrices_are_stepped_as_torch_steps_them_one_by_one(monkeypatch):
    # Torch's own iteration runs in bfloat16 on every machine.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    ours, theirs = network(), network()
    for model in (ours, theirs):
        model[3].requires_grad_(False)
    weights = Weights(ours, lr=1e-2)
    named = dict(theirs.named_parameters())
    matrices = [p for p in named.values() if p.dim() == 2]
    assert 3 == len(matrices)
    muon = torch.optim.Muon(
        matrices, lr=1e-2, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    vectors = [p for p in named.values() if p.dim() == 1]
    adam = torch.optim.AdamW(vectors, lr=5e-3, weight_decay=0.0, betas=(0.9, 0.98))
    for seed in range(4):
        backward(ours, seed)
        backward(theirs, seed)
        norm = weights.step(1.0)
        assert torch.isclose(norm, nn.utils.clip_grad_norm_(theirs.parameters(), 1.0))
        muon.step()
        adam.step()
        theirs.zero_grad()
    for name, value in ours.named_parameters():
        if value.dim() <= 2:
            # The iteration runs in bfloat16, which rounds a stack in another order.
            assert torch.allclose(value, named[name], atol=2e-3), name


@pytest.mark.parametrize("shape", [(6, 16, 16), (3, 24, 8), (3, 8, 24)])
def test_all_singular_values_come_near_one(shape):
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert 0.5 < values.min() and values.max() < 1.4


@pytest.mark.parametrize("able", [False, True])
def test_a_cpu_computes_in_bfloat16_only_if_it_multiplies_it(monkeypatch, able):
    # Elsewhere the iteration took ten times as long as in float32.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    found = orthogonal(torch.randn(2, 8, 8))
    assert able == torch.equal(found, found.bfloat16().float())


def test_what_is_held_is_not_stepped_and_what_is_plain_is_not_made_orthogonal():
    model = network()
    weights = Weights(model, lr=0.1, held=("0.weight",), plain=("1.weight",))
    before = {name: value.clone() for name, value in model.named_parameters()}
    backward(model, 0)
    weights.step(1.0)
    changed = {n for n, value in model.named_parameters() if not torch.equal(value, before[n])}
    assert before.keys() - {"0.weight"} == changed
    assert weights.averaged().keys() == before.keys()
    step = (dict(model.named_parameters())["1.weight"] - before["1.weight"]).abs()
    assert torch.allclose(step, step.new_full((), 0.05), atol=1e-3)  # Adam's first, half the rate


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_costs_its_step_alone(broken):
    model = network()
    weights = Weights(model, lr=1e-2)
    backward(model, 0)
    weights.step(1.0)
    backward(model, 1)
    model[0].weight.grad[0, 0] = broken
    assert not weights.step(1.0).isfinite()
    backward(model, 2)
    assert weights.step(1.0).isfinite()
    assert all(value.isfinite().all() for value in weights.state().values())


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights():
    whole, first = network(), network()
    weights, half = Weights(whole, lr=1e-2), Weights(first, lr=1e-2)
    for seed in range(3):
        backward(whole, seed)
        weights.step(1.0)
    for seed in range(2):
        backward(first, seed)
        half.step(1.0)
    second = network()
    rest = Weights(second, lr=1e-2)
    rest.restore(half.state())
    backward(second, 2)
    rest.step(1.0)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    for name, value in weights.averaged().items():
        assert torch.equal(value, rest.averaged()[name])


def test_a_state_of_another_network_is_not_gone_on_from():
    saved = Weights(network(), lr=1e-2).state()
    for other in (nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 9))):
        with pytest.raises(ValueError, match="another network"):
            Weights(other, lr=1e-2).restore(saved)
