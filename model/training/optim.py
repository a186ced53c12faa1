"""Weights under training: fp32 masters, Muon and AdamW over them, their moving average.

The model itself may compute in bf16. Gradients are gathered into the fp32 masters, stepped there,
and the result is written back. Matrices (and convolutions, flattened to matrices) are stepped by
Muon (Jordan et al. 2024, as `torch.optim.Muon` with the update scaled to AdamW's RMS), everything
else by AdamW.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


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
        self.named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.masters = [nn.Parameter(_as_matrix(p.detach().float())) for _, p in self.named]
        self.average = [m.detach().clone() for m in self.masters]
        self.ema = ema
        self.steps = 0
        matrices, rest = [], []
        for (name, _), master in zip(self.named, self.masters, strict=True):
            if any(part in name for part in held):
                master.requires_grad = False
                continue
            matrix = master.dim() == 2 and min(master.shape) > 1
            matrix = matrix and not any(part in name for part in plain)
            (matrices if matrix else rest).append(master)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=lr, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, lr=lr / 2, weight_decay=0.0, betas=(0.9, 0.98)),
        ]
        self.base_lr = [lr, lr / 2]

    def step(self, scale: float, *, clip: float = 1.0) -> float:
        """One update at `scale` times the base learning rates; returns the gradient's norm."""
        for (_, parameter), master in zip(self.named, self.masters, strict=True):
            gradient = parameter.grad if master.requires_grad else None
            master.grad = None if gradient is None else gradient.float().reshape(master.shape)
            parameter.grad = None
        norm = nn.utils.clip_grad_norm_(self.masters, clip)
        for optimizer, base in zip(self.optimizers, self.base_lr, strict=True):
            optimizer.param_groups[0]["lr"] = base * scale
            optimizer.step()
        self.steps += 1
        decay = min(self.ema, (self.steps + 1) / (self.steps + 15))
        # One call for all parameters; torch has no public name for it.
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            self.average, [m.detach() for m in self.masters], 1 - decay
        )
        self._write(self.masters)
        return float(norm)

    def _write(self, source: Iterable[Tensor]) -> None:
        with torch.no_grad():
            for (_, parameter), value in zip(self.named, source, strict=True):
                parameter.copy_(value.view(parameter.shape))

    def averaged(self) -> dict[str, Tensor]:
        """The moving average of the weights by parameter name, fp32."""
        pairs = zip(self.named, self.average, strict=True)
        return {name: value.reshape(p.shape).clone() for (name, p), value in pairs}

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, as named tensors."""
        out = {"steps": torch.tensor(self.steps)}
        for i, (name, _) in enumerate(self.named):
            out[f"master/{name}"] = self.masters[i].detach()
            out[f"average/{name}"] = self.average[i]
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(self.masters[i], {}).items():
                    out[f"{key}/{name}"] = torch.as_tensor(value)
        return out

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self.steps = int(state["steps"])
        groups = [{id(m) for m in o.param_groups[0]["params"]} for o in self.optimizers]
        for i, (name, _) in enumerate(self.named):
            master = self.masters[i]
            master.data.copy_(state[f"master/{name}"])
            self.average[i].copy_(state[f"average/{name}"])
            kept = {
                key.split("/", 1)[0]: value.clone()
                for key, value in state.items()
                if key.endswith(f"/{name}") and key.split("/", 1)[1] == name
            }
            kept = {k: v for k, v in kept.items() if k not in ("master", "average")}
            if kept:
                optimizer = self.optimizers[0 if id(master) in groups[0] else 1]
                optimizer.state[master] = kept
        self._write(self.masters)


def _as_matrix(weight: Tensor) -> Tensor:
    return weight.flatten(1).clone() if weight.dim() > 2 else weight.clone()
