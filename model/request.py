"""What may be asked of a checkpoint: the request, and what the checkpoint is able to."""

from dataclasses import dataclass

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

__all__ = ["Capabilities", "Request", "Resolved", "Shot"]


@dataclass(frozen=True, slots=True)
class Shot:
    """A stretch of a storyboard: so many frames of the clip take this prompt."""

    prompt: str
    frames: int


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One clip to make. What is None takes the checkpoint's default.

    `width` and `height` are pixels of any size; `frames` is 4k + 1, or 4k after `before`. `image`
    is the first frame and `last_image` the last, both stretched to the size. `video` (uint8) is a
    clip to edit: denoising starts from it at noise `strength`, in (0, 1]. The clip goes on from the
    frames `before` and leads to the frames `after` (of any size and count; neither is part of it);
    with `loop` its end leads back to its beginning. `shots` are prompts one after the other, in
    place of `prompt`. `guidance_2` is for the low-noise expert of checkpoints with two. `fps` says
    how the frames are meant to be played; it changes none of them.
    """

    prompt: str
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    steps: int | None = None
    guidance: float | None = None
    guidance_2: float | None = None
    seed: int = 0
    image: Image.Image | None = None
    last_image: Image.Image | None = None
    video: UInt8[Tensor, "f h w 3"] | None = None
    strength: float | None = None
    before: UInt8[Tensor, "p ph pw 3"] | None = None
    after: UInt8[Tensor, "n nh nw 3"] | None = None
    loop: bool = False
    shots: tuple[Shot, ...] = ()
    fps: float | None = None
    flow_shift: float | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Resolved:
    """A `Request` that the checkpoint can make, every default filled in.

    `shots` holds at least one, `prompt` and all frames where none were given. `guidance_2` is
    `guidance` where there is no second expert; `strength` is None without a video.
    """

    negative_prompt: str
    width: int
    height: int
    frames: int
    steps: int
    guidance: float
    guidance_2: float
    seed: int
    image: Image.Image | None
    last_image: Image.Image | None
    video: UInt8[Tensor, "f h w 3"] | None
    strength: float | None
    before: UInt8[Tensor, "p ph pw 3"] | None
    after: UInt8[Tensor, "n nh nw 3"] | None
    loop: bool
    shots: tuple[Shot, ...]
    fps: float
    flow_shift: float


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a loaded checkpoint can do, and what it does unless told otherwise.

    `modes` is out of "text", "image" (a first frame), "first_last" (both ends), "edit" (a video),
    "extend" (frames before), "lead_in" (frames after), "loop" and "storyboard" (shots). Sizes are
    padded to multiples of `grid` pixels; a clip has `frame_factor` · k + 1 frames, or one less
    where it goes on from frames.
    """

    model_id: str
    modes: tuple[str, ...]
    grid: int
    frame_factor: int
    max_frames: int
    max_pixels: int
    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guidance: float
    guidance_2: float | None
    flow_shift: float
    strength: float
