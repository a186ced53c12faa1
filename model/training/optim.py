"""Weights under training: fp32 masters, Muon and AdamW over them, their moving average.

The model itself may compute in bf16. Gradients are gathered into the fp32 masters, stepped there,
and the result is written back. Matrices (and convolutions, flattened to matrices) are stepped by
Muon (Jordan et al. 2024), scaled to AdamW's RMS (Liu et al. 2025, arXiv:2502.16982), everything
else by AdamW. Matrices of one shape are stepped together, as one stack: alone, each is so small
that a GPU would mostly wait for its next one.
"""

import torch
from torch import Tensor, nn

from model.memory import compute_dtype

MOMENTUM, DECAY = 0.95, 0.01
#: Coefficients of the iteration that brings all singular values near 1 (Jordan et al. 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Weights:
    """The fp32 masters of `model`'s parameters with their optimisers and moving average."""

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        ema: float = 0.998,
        plain: tuple[str, ...] = (),
        held: tuple[str, ...] = (),
    ) -> None:
        """`plain` are parts of parameter names that AdamW steps although they are matrices, `held`
        ones are not stepped.
        """
        self.named = [
            (name, parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and not any(part in name for part in held)
        ]
        self.unmoved = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and any(part in name for part in held)
        }
        self.lr, self.ema, self.steps = lr, ema, 0
        shapes: dict[tuple[int, int], list[int]] = {}
        self.rest: list[int] = []
        for i, (name, parameter) in enumerate(self.named):
            matrix = _as_matrix(parameter)
            if matrix.dim() != 2 or min(matrix.shape) == 1 or any(part in name for part in plain):
                self.rest.append(i)
            else:
                shapes.setdefault((matrix.shape[0], matrix.shape[1]), []).append(i)
        self.groups = list(shapes.values())
        # Masters lie in stacks; each one's is a view of its stack.
        self.stacks = [
            torch.stack([_as_matrix(self.named[i][1].detach()).float() for i in group])
            for group in self.groups
        ]
        self.momenta = [torch.zeros_like(stack) for stack in self.stacks]
        self.vectors = [nn.Parameter(self.named[i][1].detach().float().clone()) for i in self.rest]
        self.adam = torch.optim.AdamW(self.vectors, lr=lr / 2, weight_decay=0, betas=(0.9, 0.98))
        self.averages = [stack.clone() for stack in self.stacks]
        self.averages += [vector.detach().clone() for vector in self.vectors]

    @torch.no_grad()
    def step(self, scale: float, *, clip: float = 1.0) -> Tensor:
        """One update at `scale` times the base learning rates; returns the gradient's norm.

        A gradient that is not finite counts as none: it would stay in the momenta for good.
        """
        gradients = [
            torch.stack([_gradient(self.named[i][1]) for i in group]) for group in self.groups
        ]
        for master, i in zip(self.vectors, self.rest, strict=True):
            parameter = self.named[i][1]
            gradient = parameter.grad
            master.grad = torch.zeros_like(master) if gradient is None else gradient.float()
        singles = [vector.grad for vector in self.vectors if vector.grad is not None]
        norms = torch._foreach_norm([*gradients, *singles])  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  # no public name
        norm = torch.linalg.vector_norm(torch.stack(norms))
        smaller, lost = (clip / (norm + 1e-6)).clamp(max=1), ~norm.isfinite()
        for stack, momentum, gradient in zip(self.stacks, self.momenta, gradients, strict=True):
            gradient.mul_(smaller).masked_fill_(lost, 0)
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonal(gradient.lerp_(momentum, MOMENTUM))
            rate = self.lr * scale * 0.2 * max(stack.shape[1:]) ** 0.5
            stack.mul_(1 - self.lr * scale * DECAY).sub_(update, alpha=rate)
        for gradient in singles:
            gradient.mul_(smaller).masked_fill_(lost, 0)
        self.adam.param_groups[0]["lr"] = self.lr / 2 * scale
        self.adam.step()
        self.steps += 1
        decay = min(self.ema, (self.steps + 1) / (self.steps + 15))
        masters = [*self.stacks, *(vector.detach() for vector in self.vectors)]
        torch._foreach_lerp_(self.averages, masters, 1 - decay)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  # no public name
        self._write()
        return norm

    @torch.no_grad()
    def _write(self) -> None:
        """Give the model the masters, and forget its gradients."""
        targets, sources = [], []
        for parameter, master in zip(self._parameters(), self._split(self.stacks), strict=True):
            targets.append(parameter)
            sources.append(master.view(parameter.shape))
            parameter.grad = None
        torch._foreach_copy_(targets, sources)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  # no public name

    def _parameters(self) -> list[nn.Parameter]:
        """The model's parameters in the order of the stacks, then of the rest."""
        order = [i for group in self.groups for i in group] + self.rest
        return [self.named[i][1] for i in order]

    def _names(self) -> list[str]:
        order = [i for group in self.groups for i in group] + self.rest
        return [self.named[i][0] for i in order]

    def _split(self, stacks: list[Tensor]) -> list[Tensor]:
        """Tensors of each parameter, of stacks and then single ones (else the masters')."""
        matrices = [matrix for stack in stacks[: len(self.groups)] for matrix in stack.unbind(0)]
        rest = stacks[len(self.groups) :] or [vector.detach() for vector in self.vectors]
        return matrices + rest

    def averaged(self) -> dict[str, Tensor]:
        """The moving average of the weights by parameter name, fp32."""
        shapes = [parameter.shape for parameter in self._parameters()]
        found = zip(self._names(), self._split(self.averages), shapes, strict=True)
        out = {name: value.reshape(shape).clone() for name, value, shape in found}
        return out | {name: p.detach().float().clone() for name, p in self.unmoved.items()}

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, as named tensors."""
        out = {"steps": torch.tensor(self.steps)}
        out |= {f"average/{name}": value for name, value in self.averaged().items()}
        for name, master in zip(self._names(), self._split(self.stacks), strict=True):
            out[f"master/{name}"] = master.clone()
        momenta = [m for stack in self.momenta for m in stack.unbind(0)]
        for name, momentum in zip(self._names(), momenta, strict=False):
            out[f"momentum/{name}"] = momentum.clone()
        for i, vector in zip(self.rest, self.vectors, strict=True):
            for key, value in self.adam.state.get(vector, {}).items():
                out[f"{key}/{self.named[i][0]}"] = torch.as_tensor(value).clone()
        return out

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned; ValueError if that was of another network."""
        names = self._names()
        for name, master in zip(names, self._split(self.stacks), strict=True):
            saved = state.get(f"master/{name}")
            if saved is None or saved.numel() != master.numel():
                raise ValueError(
                    f"state: is of another network, without {name} of the shape "
                    f"{list(master.shape)}. Delete its folder to start the stage afresh."
                )
        self.steps = int(state["steps"])
        for name, master in zip(names, self._split(self.stacks), strict=True):
            master.copy_(state[f"master/{name}"].view(master.shape))
        for name, average in zip(names, self._split(self.averages), strict=True):
            average.copy_(state[f"average/{name}"].view(average.shape))
        momenta = [m for stack in self.momenta for m in stack.unbind(0)]
        for name, momentum in zip(names, momenta, strict=False):
            momentum.copy_(state[f"momentum/{name}"])
        for name, parameter in self.unmoved.items():
            parameter.copy_(state[f"average/{name}"])
        for i, vector in zip(self.rest, self.vectors, strict=True):
            name = self.named[i][0]
            if f"step/{name}" in state:
                kept = {k: state[f"{k}/{name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
                moved = {k: v.to(vector.device) for k, v in kept.items() if k != "step"}
                self.adam.state[vector] = {"step": kept["step"].cpu(), **moved}
        self._write()


def orthogonal(x: Tensor) -> Tensor:
    """The nearest matrices with equal singular values to `[g, m, n]`, about (Newton-Schulz)."""
    a, b, c = NEWTON_SCHULZ
    tall = x.shape[1] > x.shape[2]
    y = x.to(compute_dtype(x.device))
    y = y.mT if tall else y
    y = y / (y.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return (y.mT if tall else y).float()


def _as_matrix(weight: Tensor) -> Tensor:
    return weight.flatten(1) if weight.dim() > 2 else weight


def _gradient(parameter: nn.Parameter) -> Tensor:
    """The gradient as an fp32 matrix, zero where none came."""
    gradient = parameter.grad
    gradient = torch.zeros_like(parameter) if gradient is None else gradient
    return _as_matrix(gradient).float()
