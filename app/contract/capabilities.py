"""What a worker says its checkpoint can do, and the arithmetic that admission needs from it."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

#: What a request brings beside its prompt -> the mode that it needs, and what lacks without it.
NEEDS = {
    "video": ("edit", "cannot edit videos"),
    "still": ("edit", "cannot edit pictures"),
    "before": ("extend", "cannot go on from a video"),
    "after": ("lead_in", "cannot lead into a video"),
    "loop": ("loop", "cannot make a clip that loops"),
    "shots": ("storyboard", "takes one prompt for the whole clip"),
}
#: How they are called in a sentence.
WORDS = {
    "image": "a first frame",
    "last_image": "a last frame",
    "video": "a video to edit",
    "before": "a video to go on from",
    "after": "a video to lead into",
    "loop": "a loop",
}
#: Of these a request brings one at most.
EXCLUSIVE = (
    {"video", "image"},
    {"video", "last_image"},
    {"video", "before"},
    {"video", "after"},
    {"video", "loop"},
    {"before", "image"},
    {"before", "loop"},
    {"after", "last_image"},
    {"after", "loop"},
    {"loop", "last_image"},
)
#: Pixels; WebP holds no longer side than 16383, and H.264's encoder none than 16384.
MAX_SIDE = 16382
#: Frames a second, of what is made and of what is sent.
MAX_FPS = 120
#: How the names of OpenAI's own models begin.
THEIRS = ("sora-", "gpt-image-", "chatgpt-image-", "dall-e-")
#: name of a style -> the words that are put behind the prompt
STYLES = (
    ("realistic", "realistic"),
    ("animated", "cartoon"),
    ("black and white", "black and white film"),
    ("sketch", "pencil sketch"),
)


class Unsupported(ValueError):
    """A request that the model cannot do; `param` names the field at fault."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """A model as its worker registers it. Sizes are pixels, lengths are frames.

    Any size up to the limits is possible: the model pads and crops what is not on its grid.
    Clips have 1 + k * `frame_step` frames, and k * `frame_step` when they go on from another one.
    """

    model_id: str
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    grid: int
    max_pixels: int
    max_frames: int
    #: guidance of the second expert, for checkpoints that have one
    guidance_2: float | None = None
    flow_shift: float | None = None
    #: how far an edit goes from its source
    strength: float = 0.8
    aliases: tuple[str, ...] = ()
    min_side: int = 16
    frame_step: int = 4
    max_steps: int = 200
    #: what it can start from: text, image (a first frame), first_last (both ends), edit (a video),
    #: extend (the frames before), lead_in (the frames after); and loop, storyboard
    modes: tuple[str, ...] = ("text",)
    #: sizes worth offering, as (width, height)
    sizes: tuple[tuple[int, int], ...] = ()
    #: styles that can be asked for by name, with their words
    styles: tuple[tuple[str, str], ...] = STYLES

    @property
    def max_seconds(self) -> float:
        """Longest clip at the default frame rate."""
        return self.max_frames / self.fps

    def answers_to(self, name: str) -> bool:
        """Whether a client may ask for the model by this name."""
        return name == self.model_id or name in self.aliases

    def check_size(self, width: int, height: int, param: str = "size") -> None:
        """Raises Unsupported unless the model renders this size."""
        if width % 2 or height % 2:
            raise Unsupported(param, f"{width}x{height} is impossible: both sides must be even.")
        if min(width, height) < self.min_side:
            raise Unsupported(
                param, f"{width}x{height} is too small: each side needs {self.min_side} pixels."
            )
        if max(width, height) > MAX_SIDE:
            raise Unsupported(
                param,
                f"{width}x{height} is too long: no side may have more than {MAX_SIDE} pixels.",
            )
        if width * height > self.max_pixels:
            raise Unsupported(
                param,
                f"{width}x{height} is {width * height} pixels, more than the {self.max_pixels} "
                f"that {self.model_id} can render.",
            )

    def frames_for(
        self, seconds: float, fps: int, param: str = "seconds", *, goes_on: bool = False
    ) -> int:
        """The allowed number of new frames nearest to `seconds`; raises Unsupported beyond the
        limits. `goes_on` is for a clip that continues another one, whose first frame is given.
        """
        if not math.isfinite(seconds) or seconds <= 0:
            raise Unsupported(param, "The length must be a positive number of seconds.")
        first = 0 if goes_on else 1
        steps = math.floor((seconds * fps - first) / self.frame_step + 0.5)
        frames = first + self.frame_step * max(1 - first, steps)
        self.check_frames(frames, param, fps, goes_on=goes_on)
        return frames

    def check_frames(
        self,
        frames: int,
        param: str = "frames",
        fps: int | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        """Raises Unsupported unless the model renders this many new frames."""
        first = 0 if goes_on else 1
        if frames < 1 or (frames - first) % self.frame_step:
            raise Unsupported(
                param, f"The number of frames must be {first} + a multiple of {self.frame_step}."
            )
        if frames > self.max_frames:
            longest = (
                f"{self.max_frames} frames ({self.max_frames / (fps or self.fps):.2f} seconds)"
            )
            raise Unsupported(
                param, f"{frames} frames are too many: {self.model_id} renders up to {longest}."
            )

    def check_conditioning(self, given: set[str]) -> None:
        """Raises Unsupported unless the model can start from `given`: image, last_image, video,
        still (a picture to edit), before, after, loop, shots.
        """
        for name, (mode, lack) in NEEDS.items():
            if name in given and mode not in self.modes:
                raise Unsupported(name, f"{self.model_id} {lack}.")
        for pair in EXCLUSIVE:
            if pair <= given:
                first, second = sorted(pair)
                said = f"{WORDS[first]} and {WORDS[second]} cannot be given together."
                raise Unsupported(second, said.capitalize())
        self._check_images(given)

    def _check_images(self, given: set[str]) -> None:
        if "last_image" in given:
            if not given & {"image", "before"}:
                raise Unsupported("last_image", "A last frame needs the first frame beside it.")
            if "first_last" not in self.modes:
                raise Unsupported("last_image", f"{self.model_id} takes no last frame.")
        elif "image" in given and "image" not in self.modes:
            if "first_last" in self.modes:
                raise Unsupported("last_image", f"{self.model_id} needs the last frame as well.")
            raise Unsupported("image", f"{self.model_id} makes videos from text only.")
        if not given - {"loop", "shots"} and "text" not in self.modes:
            raise Unsupported("image", f"{self.model_id} needs an image to start from.")

    def words_of(self, style: str) -> str:
        """The words that give a prompt this style; raises Unsupported for one it does not know."""
        known = dict(self.styles)
        if style not in known:
            offered = ", ".join(known) or "none"
            raise Unsupported(
                "style", f"{style!r} is no style of {self.model_id}: it has {offered}."
            )
        return known[style]

    def to_json(self) -> str:
        """For the row."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote; keys this version does not know are left out, as a newer
        worker may serve beside an older API.
        """
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: v for k, v in json.loads(text).items() if k in known}
        for name in ("aliases", "modes"):
            values[name] = tuple(values.get(name, ()))
        values["sizes"] = tuple((w, h) for w, h in values.get("sizes", ()))
        values["styles"] = tuple((name, words) for name, words in values.get("styles", ()))
        return cls(**values)


def resolve(name: str | None, models: list[Capabilities], default: str = "") -> Capabilities:
    """The model that a request's `model` means; raises Unsupported when there is none.

    No name, or one of OpenAI's (`sora-2`, …) that no model took as an alias, means the default.
    """
    if not models:
        raise Unsupported("model", "No model is being served: no worker has registered one yet.")
    for model in models:
        if name and model.answers_to(name):
            return model
    if not name or name.startswith(THEIRS):
        return next((m for m in models if default and m.answers_to(default)), models[0])
    served = ", ".join(m.model_id for m in models)
    raise Unsupported("model", f"The model {name!r} does not exist. Served now: {served}.")
