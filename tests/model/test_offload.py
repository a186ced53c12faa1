"""Weights that wait in host memory and visit the device."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from model import Pipeline, Request
from model.offload import offload, offloaded, resident_bytes
from model.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=12,
    in_channels=4,
    out_channels=4,
    text_dim=8,
    freq_dim=16,
    ffn_dim=32,
    num_layers=3,
)


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    return Transformer(CONFIG).requires_grad_(requires_grad=False).eval()


def velocity(transformer: Transformer, device: str = "cpu") -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 2, 4, 4, generator=generator).to(device)
    text = torch.randn(1, 5, 8, generator=generator).to(device)
    return transformer(latents, torch.tensor([500.0], device=device), text)


def places(transformer: Transformer) -> set[tuple[str, str]]:
    return {(n.split(".")[0], p.device.type) for n, p in transformer.named_parameters()}


def test_every_weight_that_a_block_needs_is_on_the_device_while_it_works(transformer):
    # Nothing can be computed with weights on two devices, and "meta" is one that all machines have.
    offload(transformer, torch.device("meta"))
    assert velocity(transformer, "meta").device.type == "meta"
    assert {where for part, where in places(transformer) if part == "blocks"} == {"cpu"}
    assert {where for part, where in places(transformer) if part != "blocks"} == {"meta"}


def test_the_velocity_is_the_same_to_the_bit(transformer):
    expected = velocity(transformer)
    with offloaded(transformer, torch.device("cpu")):
        assert torch.equal(velocity(transformer), expected)
        assert torch.equal(velocity(transformer), expected)
    assert not transformer.is_offloaded
    assert torch.equal(velocity(transformer), expected)


def test_a_block_that_fails_leaves_the_device(transformer):
    offload(transformer, torch.device("meta"))
    with pytest.raises(ValueError, match=r"^latents: must have 4 channels"):
        transformer(torch.zeros(1, 5, 2, 4, 4), torch.zeros(1), torch.zeros(1, 5, 8, device="meta"))
    assert {where for part, where in places(transformer) if part == "blocks"} == {"cpu"}


def test_an_offloaded_transformer_is_left_as_it_is(transformer):
    offload(transformer, torch.device("cpu"))
    with offloaded(transformer, torch.device("cpu")):
        pass
    assert transformer.is_offloaded


def test_two_blocks_and_what_stays_are_counted(transformer):
    block = sum(p.nbytes for p in transformer.blocks[0].parameters())
    whole = sum(p.nbytes for p in transformer.parameters())
    assert resident_bytes(transformer) == whole - block


def test_a_pipeline_whose_weights_wait_makes_the_same_frames(checkpoint):
    request = Request("red ball", frames=5, steps=2, seed=3)
    plain, offloading = Pipeline.load(checkpoint), Pipeline.load(checkpoint, offload=True)
    made, again = (torch.cat(list(p.generate(request))) for p in (plain, offloading))
    assert torch.equal(made, again)
    assert offloading.memory(832, 480).weights < plain.memory(832, 480).weights


def test_blocks_that_find_no_room_in_the_end_go_on_waiting(transformer):
    """As where what ran out of memory still holds some: the next clip must be able to run."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    expected = velocity(transformer)
    with offloaded(transformer, torch.device("cpu")):
        transformer.blocks[1]._apply = full
    assert transformer.is_offloaded
    assert torch.equal(velocity(transformer), expected)


def test_no_block_sets_out_before_there_is_a_place_for_it(transformer, monkeypatch):
    """A GPU frees a block's memory when it has worked, and the host has said so long before."""
    log: list[str] = []
    stream = SimpleNamespace(
        wait_stream=lambda _: None,
        record_event=lambda: SimpleNamespace(synchronize=lambda: log.append("worked")),
    )
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    expected = velocity(transformer)
    offload(transformer, torch.device("cpu"))
    visits = transformer.visit.__self__
    send = visits._send
    monkeypatch.setattr(visits, "_copies", stream)
    monkeypatch.setattr(visits, "_send", lambda number: (log.append("sent"), send(number))[1])
    assert torch.equal(velocity(transformer), expected)
    taken = [log[:i].count("sent") - log[:i].count("worked") for i in range(1, len(log) + 1)]
    assert log.count("sent") > 2
    assert max(taken) == 2
