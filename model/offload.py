"""A transformer larger than its device: blocks wait in host memory and visit when they work.

Blocks run one after the other, so two places on the device are enough: while one block computes,
the next is on its way. Where a block computes for longer than its weights travel (14 B parameters
on a window of video), that costs next to no time.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from model.transformer import Transformer, staying

__all__ = ["offload", "offloaded", "resident_bytes"]


def offload(transformer: Transformer, device: torch.device) -> None:
    """Let the blocks wait in host memory from now on; all else is on `device` to stay."""
    blocks = transformer.blocks
    transformer.blocks = nn.ModuleList()
    transformer.to(device)
    transformer.blocks = blocks
    transformer.visit = _Visits(blocks, device).visit


@contextmanager
def offloaded(transformer: Transformer, device: torch.device) -> Generator[None]:
    """`offload` for a while; a transformer whose blocks wait already is left as it is.

    Where there is no room for its blocks in the end (what ran out of memory may still hold some),
    they go on waiting: half of them here and half there would fail whatever comes next.
    """
    if transformer.is_offloaded:
        yield
        return
    offload(transformer, device)
    try:
        yield
    finally:
        transformer.visit = staying
        try:
            transformer.to(device)
        except torch.OutOfMemoryError:
            offload(transformer, device)


def resident_bytes(transformer: Transformer) -> int:
    """Bytes on the device of an offloaded transformer: what stays, and two of its blocks."""
    blocks = [sum(p.nbytes for p in block.parameters()) for block in transformer.blocks]
    return sum(p.nbytes for p in transformer.parameters()) - sum(blocks) + 2 * max(blocks)


class _Visits:
    """Blocks in the order in which they run, the last before the first of the next pass."""

    def __init__(self, blocks: nn.ModuleList, device: torch.device) -> None:
        self._device = device
        self._numbers = {block: number for number, block in enumerate(blocks)}
        self._owners = [
            [(m, name) for m in block.modules() for name, _ in m.named_parameters(recurse=False)]
            for block in blocks
        ]
        self._waiting = [
            [_hosted(m.get_parameter(name), device) for m, name in own] for own in self._owners
        ]
        self._coming: dict[int, list[Tensor]] = {}
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._until_worked: Callable[[], object] = lambda: None
        for number in range(len(blocks)):
            self._put(number, self._waiting[number])

    @contextmanager
    def visit(self, block: nn.Module) -> Generator[None]:
        """The block's weights are on the device within; then the next block's set out."""
        number = self._numbers[block]
        following = (number + 1) % len(self._waiting)
        here = self._coming.pop(number, None) or self._send(number)
        self._await(here)
        self._put(number, here)
        try:
            yield
        finally:
            self._put(number, self._waiting[number])
        del here
        self._keep_pace()
        self._coming = {following: self._coming.get(following) or self._send(following)}

    def _keep_pace(self) -> None:
        """Wait until the block before this one has worked, while this one works.

        The host is far ahead of a GPU, which frees a block's memory only then: without this, the
        blocks sent in the meantime would each take a place of their own.
        """
        if self._copies is None:
            return
        computing = torch.cuda.current_stream(self._device)
        before, self._until_worked = self._until_worked, computing.record_event().synchronize
        before()

    def _put(self, number: int, tensors: list[Tensor]) -> None:
        for (module, name), tensor in zip(self._owners[number], tensors, strict=True):
            module.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    def _send(self, number: int) -> list[Tensor]:
        with nullcontext() if self._copies is None else torch.cuda.stream(self._copies):
            return [t.to(self._device, non_blocking=True) for t in self._waiting[number]]

    def _await(self, tensors: list[Tensor]) -> None:
        """Copies have a stream of their own: what computes waits for them, and keeps them alive."""
        if self._copies is None:
            return
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._copies)
        for tensor in tensors:
            tensor.record_stream(computing)


def _hosted(parameter: Tensor, device: torch.device) -> Tensor:
    """The values in host memory, pinned where that makes the copies of a GPU asynchronous."""
    values = parameter.data.to("cpu")
    return values.pin_memory() if device.type == "cuda" else values
