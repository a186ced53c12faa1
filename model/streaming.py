"""Causal convolution of a clip that comes in chunks, and what is remembered between two of them.

Activations are [b, t, h, w, c]: norms reduce over contiguous memory, and every convolution sees the
channels-last layout that oneDNN and cuDNN are fastest in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["CausalConv3d", "Pointwise", "RMSNorm", "Stream", "convolve"]

#: Elements that a CPU normalises at a time; a few such buffers fit a core's own cache.
_STRIP = 1 << 18

_CPU_DTYPES = (torch.float32, torch.bfloat16)


@dataclass(slots=True)
class Stream:
    """Causal history of one sequence that passes through a network chunk by chunk.

    `past` holds each layer's last input frames [b t h w c] by the layer's name, `frames` counts the
    latent frames that have passed. The size depends on the layers and the picture, never on how
    long the sequence has been. With `whole`, the next chunk is all there is and nothing is kept.
    A `lean` stream holds nothing but the past, and asks for memory with each chunk, which is dear
    on a CPU.
    """

    past: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    frames: int = 0
    whole: bool = False
    lean: bool = False
    place: str = ""
    _rooms: dict[str, Tensor] = field(default_factory=dict[str, Tensor], repr=False)

    @property
    def begins(self) -> bool:
        """The next chunk is the first."""
        return self.frames == 0

    def at(self, place: str) -> "Stream":
        """The same stream for layers that see only one part of the picture, `place`."""
        return replace(self, place=f"{place}:")

    def tensors(self) -> dict[str, Tensor]:
        """The state as a flat dict that a file can hold; `from_tensors` reads it."""
        past = {f"past.{name}": frames.clone() for name, frames in self.past.items()}
        return {"frames": torch.tensor(self.frames), **past}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Stream":
        """The state that `tensors()` gave; ValueError if it is something else."""
        names = [name for name in tensors if name.startswith("past.")]
        if "frames" not in tensors or len(names) != len(tensors) - 1:
            raise ValueError("stream: the saved state must hold 'frames' and keys 'past.…' only")
        past = {name.removeprefix("past."): tensors[name].clone() for name in names}
        return cls(past, int(tensors["frames"]))

    def extend(self, layer: str, x: Tensor, keep: int) -> Tensor:
        """`x` with the layer's last `keep` frames before it (zeros at first); differentiable."""
        key = self.place + layer
        past = self.past.get(key)
        if past is None:
            past = x.new_zeros(x.shape[0], keep, *x.shape[2:])
        x = torch.cat([past, x], 1)
        if not self.whole:
            self.seed(layer, x[:, -keep:])
        return x

    def seed(self, layer: str, frames: Tensor) -> None:
        """Make `frames` what the layer has seen last."""
        key = self.place + layer
        self._rooms.pop(key, None)
        self.past[key] = frames.clone()

    def room(self, layer: str, x: Tensor, keep: int) -> Tensor:
        """As `extend`, but the frames of `x` are left for the caller to write; then `retain`.

        Chunk after chunk is written to the same memory: large allocations are dear on a CPU, where
        each goes back to the system and comes again page by page.
        """
        key = self.place + layer
        shape = (x.shape[0], keep + x.shape[1], *x.shape[2:])
        room = self._rooms.get(key)
        if room is None or room.shape != shape:
            past = self.past.get(key)
            room = x.new_empty(shape)
            room[:, :keep] = 0 if past is None else past
        return room

    def retain(self, layer: str, room: Tensor, keep: int) -> None:
        """Keep the last `keep` frames of a filled room."""
        if self.whole:
            return
        t = room.shape[1] - keep
        if self.lean or t > keep:  # too large to hold on to
            self.seed(layer, room[:, t:])
            return
        for i in range(keep):  # one by one, because both ranges may overlap
            room[:, i] = room[:, t + i]
        key = self.place + layer
        self._rooms[key] = room
        self.past[key] = room[:, :keep]


def convolve(
    x: Float[Tensor, "b t h w c"],
    weight: Float[Tensor, "o c kt kh kw"],
    bias: Float[Tensor, " o"] | None,
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
) -> Float[Tensor, "b s p q o"]:
    """A convolution of channels-last frames; stride and zero padding are (t, h, w)."""
    x = x.permute(0, 4, 1, 2, 3)
    if x.device.type == "cpu" and x.dtype in _CPU_DTYPES and torch.backends.mkldnn.is_available():
        # F.conv3d leaves oneDNN for a kernel 5 to 10 times slower when b == 1 and t h w is small.
        # Without AVX-512 oneDNN refuses bfloat16, and that kernel takes twice the memory for it.
        takes_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported  # noqa: SLF001  # no other name
        widened = x.dtype == torch.bfloat16 and not takes_bfloat16()
        taken = (v.float() if widened and v is not None else v for v in (x, weight, bias))
        y = torch.ops.aten.mkldnn_convolution(*taken, padding, stride, (1, 1, 1), 1).to(x.dtype)
    else:
        y = F.conv3d(x, weight, bias, stride, padding)
    return y.permute(0, 2, 3, 4, 1)


class RMSNorm(nn.Module):
    """x / rms(x) over the channels, times gamma (Zhang & Sennrich 2019, arXiv:1910.07467, 4)."""

    def __init__(self, dim: int, *ones: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *ones))

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        return F.rms_norm(x, x.shape[-1:], self.gamma.flatten(), eps=1e-24)

    def silu(
        self, x: Float[Tensor, "b t h w c"], out: Float[Tensor, "b t h w c"]
    ) -> Float[Tensor, "b t h w c"]:
        """SiLU of the norm, written to `out`; without gradient.

        On a CPU a few rows go through all of it at a time, so that they stay in the cache.
        """
        if x.device.type != "cpu":
            return out.copy_(F.silu(self(x), inplace=True))
        gain = self.gamma.flatten().float() * x.shape[-1] ** 0.5
        rows = max(1, _STRIP // x[:, :, 0].numel())
        for source, target in zip(x.split(rows, 2), out.split(rows, 2), strict=True):
            wide = source.float()
            scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min_(1e-12)
            target.copy_(F.silu((wide * scale.reciprocal_()).mul_(gain), inplace=True))
        return out


class CausalConv3d(nn.Conv3d):
    """A convolution that sees earlier frames, from the stream or zeros, and never a later one."""

    #: The layer's name in a Stream; the network that owns it sets it to the module's path.
    name: str = ""

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int, int], stride_t: int = 1):
        super().__init__(c_in, c_out, kernel, stride=(stride_t, 1, 1))
        self._keep = kernel[0] - stride_t
        self._geometry = (stride_t, 1, 1), (0, kernel[1] // 2, kernel[2] // 2)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # a stream beside the frames
        self, x: Float[Tensor, "b t h w c"], stream: Stream, norm: RMSNorm | None = None
    ) -> Float[Tensor, "b s h w o"]:
        """Convolve `x`, or with `norm` the SiLU of its norm."""
        if torch.is_grad_enabled():
            x = x if norm is None else F.silu(norm(x))
            x = stream.extend(self.name, x, self._keep)
            return convolve(x, self.weight, self.bias, *self._geometry)
        room = stream.room(self.name, x, self._keep)
        fresh = room[:, self._keep :]
        if norm is None:
            fresh.copy_(x)
        else:
            norm.silu(x, out=fresh)
        y = convolve(room, self.weight, self.bias, *self._geometry)
        stream.retain(self.name, room, self._keep)
        return y


class Pointwise(nn.Conv3d):
    """A convolution with a kernel of one."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 1)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # channels come last
        self, x: Float[Tensor, "b t h w c"]
    ) -> Float[Tensor, "b t h w o"]:
        return F.linear(x, self.weight.flatten(1), self.bias)
