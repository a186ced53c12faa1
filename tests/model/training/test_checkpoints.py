"""Training state: what was saved comes back, in small files, and damage is named."""

from pathlib import Path

import pytest
import torch

from model.training import checkpoints
from model.training.checkpoints import SHARD_BYTES
from model.training.optim import Weights


def test_a_state_comes_back_as_it_was_in_small_files(tmp_path: Path) -> None:
    tensors = {f"weight{i}": torch.randn(1000, 1500) for i in range(6)}
    checkpoints.save(tmp_path, tensors, {"step": 7, "minutes": 1.5})
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 1
    assert max(f.stat().st_size for f in files) <= SHARD_BYTES
    loaded = checkpoints.load(tmp_path)
    assert loaded is not None
    assert loaded[1]["step"] == 7
    assert all(torch.equal(loaded[0][k], v) for k, v in tensors.items())


def test_a_file_is_small_with_all_that_it_says_of_its_tensors(tmp_path: Path) -> None:
    tensors = {f"weight{i}": torch.zeros(SHARD_BYTES // 400) for i in range(100)}
    checkpoints.save(tmp_path, tensors, {"step": 1})
    assert max(f.stat().st_size for f in tmp_path.iterdir()) <= SHARD_BYTES


def save_three(folder: Path) -> None:
    for step in (1, 2, 3):
        checkpoints.save(folder, {"a": torch.full((2,), float(step))}, {"step": step})


def test_a_new_state_replaces_the_old_ones_but_the_last(tmp_path: Path) -> None:
    save_three(tmp_path)
    loaded = checkpoints.load(tmp_path)
    assert loaded is not None
    assert loaded[0]["a"].tolist() == [3, 3]
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("damaged", ["state.json", "state-0000003-0.safetensors"])
def test_training_goes_on_from_the_state_before_a_damaged_one(
    tmp_path: Path, damaged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_three(tmp_path)
    file = tmp_path / damaged
    file.write_bytes(file.read_bytes()[:20])
    loaded = checkpoints.load(tmp_path)
    assert loaded is not None
    assert loaded[0]["a"].tolist() == [2, 2]
    assert damaged in capsys.readouterr().out
    checkpoints.save(tmp_path, {"a": torch.zeros(2)}, {"step": 4})
    (tmp_path / "state.json").unlink()  # as a cut leaves it just before the new one is there
    loaded = checkpoints.load(tmp_path)
    assert loaded is not None
    assert loaded[1]["step"] == 2


def test_no_state_is_none_and_a_damaged_one_names_its_file(tmp_path: Path) -> None:
    assert checkpoints.load(tmp_path) is None
    checkpoints.save(tmp_path, {"a": torch.zeros(2)}, {"step": 1})
    shard = next(tmp_path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(ValueError, match=shard.name):
        checkpoints.load(tmp_path)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.SiLU(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3)
    )


def steps(model: torch.nn.Module, weights: Weights, first: int, last: int) -> None:
    for i in range(first, last):
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(i))
        (model(x) - x[:, :3]).square().mean().backward()
        weights.step(1.0)


def test_training_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = network()
    steps(whole, Weights(whole, lr=1e-2), 0, 8)

    first = network()
    weights = Weights(first, lr=1e-2)
    steps(first, weights, 0, 5)
    checkpoints.save(tmp_path, weights.state(), {"step": 5})

    second = network()
    loaded = checkpoints.load(tmp_path)
    assert loaded is not None
    resumed = Weights(second, lr=1e-2)
    resumed.restore(loaded[0])
    steps(second, resumed, 5, 8)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(b, a)


def test_training_lowers_the_loss_with_bf16_parameters_and_fp32_masters() -> None:
    model = network()
    weights = Weights(model, lr=1e-2)
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(9))
    before = float((model(x) - x[:, :3]).square().mean().detach())
    model.to(torch.bfloat16)
    for _ in range(60):
        y = x.bfloat16()
        (model(y).float() - x[:, :3]).square().mean().backward()
        weights.step(1.0)
    after = float((model(x.bfloat16()).float() - x[:, :3]).square().mean().detach())
    assert after < before / 3
    assert all(value.dtype == torch.float32 for value in weights.averaged().values())
