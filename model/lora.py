"""LoRA files (Hu et al. 2021, arXiv:2106.09685) into additions to a transformer's named weights.

A weight W becomes W + scale * alpha / rank * up @ down (their section 4.1). Files name modules as
diffusers does, as Wan's own code does, or as kohya's trainers do (with underscores), and may hold
whole differences too. What lands on no weight is a CheckpointError: nothing is ignored.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor

from model.shards import CheckpointError, header, read_tensors

__all__ = ["Addition", "Lora", "merge", "read_additions"]

#: The names of Wan's own code (Wan-Video/Wan2.1, wan/modules/model.py) for ours: in a block …
BLOCK = {
    "attn1.to_q": "self_attn.q", "attn1.to_k": "self_attn.k", "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o",
    "attn1.norm_q": "self_attn.norm_q", "attn1.norm_k": "self_attn.norm_k",
    "attn2.to_q": "cross_attn.q", "attn2.to_k": "cross_attn.k", "attn2.to_v": "cross_attn.v",
    "attn2.to_out.0": "cross_attn.o",
    "attn2.norm_q": "cross_attn.norm_q", "attn2.norm_k": "cross_attn.norm_k",
    "attn2.add_k_proj": "cross_attn.k_img", "attn2.add_v_proj": "cross_attn.v_img",
    "attn2.norm_added_k": "cross_attn.norm_k_img",
    "norm2": "norm3", "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
    "scale_shift_table": "modulation",
}  # fmt: skip
#: … and outside of the blocks.
OUTSIDE = {
    "patch_embedding": "patch_embedding",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.image_embedder.pos_embed": "img_emb.emb_pos",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "scale_shift_table": "head.modulation",
    "proj_out": "head.head",
}
PREFIXES = ("transformer.", "diffusion_model.")
KOHYA = "lora_unet_"
#: How keys end, and what that is; LightX2V's tools write `diff_m` for a `modulation`'s difference.
PARTS = {
    ".lora_A.weight": "down", ".lora_A.default.weight": "down", ".lora_down.weight": "down",
    ".lora_B.weight": "up", ".lora_B.default.weight": "up", ".lora_up.weight": "up",
    ".lora_B.bias": "up's bias", ".lora_B.default.bias": "up's bias", ".alpha": "alpha",
    ".diff": "diff", ".diff_b": "diff_b", ".diff_m": "diff",
}  # fmt: skip
#: Those that belong together: the others stand alone.
FACTORS = ("up", "down", "alpha", "up's bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """An entry of the section "loras" of `kinora.json`: a file, merged `into` a transformer."""

    file: str
    into: Literal["transformer", "transformer_2"] = "transformer"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise ValueError(f"scale: must be a finite number, not {self.scale}")


@dataclass(frozen=True, slots=True)
class Addition:
    """`scale` times up (out, rank) @ down (rank, in); without down, `up` is the whole difference.

    The factors of a convolution have its kernel's axes at their end.
    """

    scale: float
    up: Tensor
    down: Tensor | None = None


def merge(weight: Tensor, additions: Sequence[Addition]) -> Tensor:
    """The weight with all that is added to it, in float32; `weight` itself stays as it is."""
    merged = weight.float()
    for each in additions:
        if each.down is None:
            merged = merged.add(each.up.float(), alpha=each.scale)
        else:
            up, down = each.up.float().flatten(1), each.down.float().flatten(1)
            merged = torch.addmm(merged.flatten(1), up, down, alpha=each.scale).view_as(weight)
    return merged


def read_additions(
    loras: Iterable[Lora], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, list[Addition]]:
    """What `loras` add to the weights of one transformer, by key, memory-mapped.

    `shapes` are those of its weights. Raises CheckpointError for whatever does not fit them.
    """
    additions: dict[str, list[Addition]] = defaultdict(list)
    for lora in loras:
        for key, addition in _Reader(lora, shapes).additions():
            additions[key].append(addition)
    return dict(additions)


class _Reader:
    """One file, and the weights that it is meant for."""

    def __init__(self, lora: Lora, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._lora = lora
        self._shapes = shapes
        self._file = Path(lora.file)
        if not self._file.is_file():
            raise CheckpointError(f"{self._file}: missing; kinora.json names it as a LoRA")
        self._tensors = dict(read_tensors(header(self._file)))

    def additions(self) -> Iterator[tuple[str, Addition]]:
        """Each with the key of its weight."""
        scale, alpha_of_all = self._lora.scale, self._alpha_of_all()
        for module, keys in self._modules().items():
            weight = f"{module}.weight" if f"{module}.weight" in self._shapes else module
            bias = f"{module}.bias"
            if "diff" in keys:
                yield weight, Addition(scale, self._difference(keys["diff"], weight))
            if "diff_b" in keys:
                yield bias, Addition(scale, self._difference(keys["diff_b"], bias))
            if keys.keys().isdisjoint(FACTORS):
                continue
            up, down = self._factors(keys, weight)
            alpha = self._alpha(keys["alpha"]) if "alpha" in keys else alpha_of_all
            share = scale if alpha is None else scale * alpha / len(down)
            yield weight, Addition(share, up, down)
            if "up's bias" in keys:
                yield bias, Addition(share, self._difference(keys["up's bias"], bias))

    def _modules(self) -> dict[str, dict[str, str]]:
        """The file's keys by our module's name (or parameter's, in no module), and by part."""
        spellings = _spellings(self._shapes)
        modules: dict[str, dict[str, str]] = defaultdict(dict)
        for key, tensor in self._tensors.items():
            if key.startswith(("lora_te", "text_encoder")):
                raise self._fault(key, "is a text encoder's; only transformers take LoRAs")
            suffix = next(filter(key.endswith, PARTS), None)
            if suffix is None:
                ends = ", ".join(PARTS)
                raise self._fault(key, f"cannot be merged; a key must end with one of {ends}")
            name = key.removesuffix(suffix) + (".modulation" if suffix == ".diff_m" else "")
            for prefix in PREFIXES:
                name = name.removeprefix(prefix)
            if name not in spellings:
                raise self._homeless(key)
            part = PARTS[suffix]
            if part != "alpha" and not tensor.is_floating_point():
                raise self._fault(key, f"is {tensor.dtype}; weights must be floats")
            other = modules[spellings[name]].setdefault(part, key)
            if other != key:
                raise self._fault(key, f"says again what {other} says; keep one of them")
        return modules

    def _factors(self, keys: Mapping[str, str], weight: str) -> tuple[Tensor, Tensor]:
        """Up (out, rank) and down (rank, in) of one weight."""
        present = next(keys[part] for part in FACTORS if part in keys)
        for part, ends in (("up", "lora_B or lora_up"), ("down", "lora_A or lora_down")):
            if part not in keys:
                raise self._fault(present, f"needs its {ends}.weight, which is missing")
        up, down = self._tensors[keys["up"]], self._tensors[keys["down"]]
        out, *into = self._shapes[weight]
        rank = len(down) if down.ndim else 0
        for part, factor, wanted in (
            ("down", down, (rank, math.prod(into))),
            ("up", up, (out, rank)),
        ):
            if not (rank and into) or factor.ndim < 2 or tuple(factor.flatten(1).shape) != wanted:
                raise self._fault(
                    keys[part],
                    f"has shape {list(factor.shape)}; at rank {rank} {weight} of {self._lora.into} "
                    f"asks for {list(wanted)}",
                )
        return up, down

    def _difference(self, key: str, target: str) -> Tensor:
        difference, shape = self._tensors[key], self._shapes.get(target)
        if shape is None:
            raise self._homeless(key)
        if tuple(difference.shape) != shape:
            raise self._fault(
                key,
                f"has shape {list(difference.shape)}; {target} of {self._lora.into} asks for "
                f"{list(shape)}",
            )
        return difference

    def _alpha(self, key: str) -> float:
        alpha = self._tensors[key]
        if alpha.numel() != 1 or not math.isfinite(alpha.item()):
            raise self._fault(key, "must be one finite number")
        return float(alpha.item())

    def _alpha_of_all(self) -> float | None:
        """The alpha that diffusers writes beside the tensors; None is the rank of each."""
        with safe_open(self._file, framework="pt") as shard:
            written = (shard.metadata() or {}).get("lora_adapter_metadata", "{}")
        try:
            said = {k.removeprefix("transformer."): v for k, v in json.loads(written).items()}
            alpha = None if said.get("lora_alpha") is None else float(said["lora_alpha"])
        except (AttributeError, TypeError, ValueError) as error:
            raise self._fault("lora_adapter_metadata", f"is not readable ({error})") from error
        for name in ("use_rslora", "alpha_pattern"):
            if said.get(name):
                raise self._fault(
                    "lora_adapter_metadata", f"has {name}; only one lora_alpha for all can be read"
                )
        return alpha

    def _homeless(self, key: str) -> CheckpointError:
        return self._fault(
            key,
            f"lands on no weight of {self._lora.into}; the LoRA must be made for this model, and "
            "name modules as diffusers, Wan or kohya's trainers do",
        )

    def _fault(self, key: str, fault: str) -> CheckpointError:
        return CheckpointError(f"{self._file}: {key} {fault}")


def _spellings(keys: Iterable[str]) -> dict[str, str]:
    """Our name of a module (or of a parameter in none) for each name that a file may give it."""
    spellings: dict[str, str] = {}
    for key in keys:
        ours = key.removesuffix(".weight").removesuffix(".bias")
        if ours.startswith("blocks."):
            _, number, part = ours.split(".", 2)
            original = f"blocks.{number}.{BLOCK[part]}"
        else:
            original = OUTSIDE[ours]
        for name in (ours, original):
            spellings[name] = spellings[KOHYA + name.replace(".", "_")] = ours
    return spellings
