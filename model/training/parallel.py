"""More processes for the same training: each computes gradients of the weights as they stand.

The weights lie in shared memory. A process beside the trainer reads them, computes the gradient of
a step of its own and lays it down; the trainer averages what lies there with its own gradient
(asynchronous stochastic gradients: Dean et al. 2012, "Large Scale Distributed Deep Networks"). A
slow process only gives less; none is waited for.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Lock

import torch
import torch.multiprocessing
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients laid down for the trainer: their sum for each parameter, how many, how far."""

    sums: list[Tensor]
    count: Tensor  # []
    done: Tensor  # [], the share of the training that is over

    def add(self, model: nn.Module) -> None:
        """Lay down the gradients of `model` and clear them."""
        for total, parameter in zip(self.sums, model.parameters(), strict=True):
            if parameter.grad is not None:
                total.add_(parameter.grad)
                parameter.grad = None
        self.count.add_(1)

    def take(self, model: nn.Module) -> int:
        """Average what lies here into the gradients of `model`; returns how many lay here."""
        count = int(self.count)
        if count:
            for total, parameter in zip(self.sums, model.parameters(), strict=True):
                if parameter.grad is None:  # this step did not come by
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad.add_(total).div_(count + 1)
                total.zero_()
            self.count.zero_()
        return count


# Adds one step's gradients to the model's, given the share of the training that is over; returns
# the terms of its loss.
Backward = Callable[[torch.Generator, float], dict[str, Tensor]]


class Helpers:
    """The processes beside a trainer; they end with it."""

    def __init__(
        self,
        count: int,
        model: nn.Module,
        prepare: Callable[..., Backward],
        arguments: tuple[object, ...],
        *,
        seed: int,
    ) -> None:
        """Each of `count` processes calls `prepare(model, *arguments)` for its `Backward`."""
        model.share_memory()
        context = torch.multiprocessing.get_context("spawn")
        self.lock = context.Lock()
        self.gradients = Gradients(
            [torch.zeros_like(p).share_memory_() for p in model.parameters()],
            torch.zeros((), dtype=torch.long).share_memory_(),
            torch.zeros(()).share_memory_(),
        )
        self.processes: list[BaseProcess] = [
            context.Process(
                target=_help,
                args=(model, prepare, arguments, self.gradients, self.lock),
                kwargs={"seed": seed * 1_000_003 + 500_009 * rank, "parent": os.getpid()},
                daemon=True,
                name=f"kinora-gradients-{rank}",
            )
            for rank in range(1, count + 1)
        ]
        for process in self.processes:
            process.start()

    def join_in(self, model: nn.Module, done: float) -> int:
        """Average the laid down gradients with the model's; returns how many there were."""
        self.gradients.done.fill_(done)
        with self.lock:
            return self.gradients.take(model)

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.terminate()


def _help(
    model: nn.Module,
    prepare: Callable[..., Backward],
    arguments: tuple[object, ...],
    gradients: Gradients,
    lock: Lock,
    *,
    seed: int,
    parent: int,
) -> None:
    os.setsid()  # Ctrl-C is for the trainer, which ends this process
    torch.set_num_threads(1)
    # The smallest numbers, which attention is full of, are computed ten times as slowly as zeros.
    torch.set_flush_denormal(True)
    backward = prepare(model, *arguments)
    step = 0
    while os.getppid() == parent:
        backward(torch.Generator().manual_seed(seed + step), float(gradients.done))
        with lock:
            gradients.add(model)
        step += 1
