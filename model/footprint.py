"""How much memory a computation takes, counted by running it without data.

On PyTorch's "meta" device every operation gives a tensor of the right shape and dtype that holds
nothing, so a forward of any size runs in milliseconds. What is alive at once is counted on the way:
the memory of the tensors themselves, without what a kernel or an allocator keeps beside them.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_bytes"]


def peak_bytes(run: Callable[[], object]) -> tuple[int, int]:
    """The most bytes that `run` has alive at once on "meta", and those of what it returns."""
    with torch.no_grad(), _WithoutData(), _Alive() as alive:
        result = run()
    kept = {id(s): s.nbytes() for s in map(Tensor.untyped_storage, _tensors(result))}
    return alive.most, sum(kept.values())


def _tensors(values: object) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


class _Alive(TorchDispatchMode):
    """Counts the storages that operations make, until they are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        before = {id(t.untyped_storage()) for t in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in before and storage not in self._known:
                self._known.add(storage)
                self._made(storage.nbytes())
                weakref.finalize(storage, self._made, -storage.nbytes())
        return result

    def _made(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


class _WithoutData(TorchFunctionMode):
    """What "meta" cannot do, or does otherwise than the devices that compute."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is F.scaled_dot_product_attention:  # keeps all scores there, and nowhere else
            return torch.empty_like(args[0])
        if func is Tensor.any:  # whether a layer is switched off
            return True
        return func(*args, **(kwargs or {}))
