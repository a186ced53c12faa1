"""What the API takes and gives, as pydantic models; the OpenAPI document is made from these."""

import json
import math
import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile

from app.errors import from_validation

#: Seeds above this could not be echoed exactly to a client whose JSON numbers are doubles.
MAX_SEED = 2**53 - 1
SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


class Size(NamedTuple):
    """Width and height in pixels, written `1280x720`."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def _number(value: Any) -> Any:
    """Numbers, also as the text a form carries them in; neither true nor infinity is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise PydanticCustomError("invalid_type", "must be a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise PydanticCustomError(
            "invalid_type", "must be a number, not {text}", {"text": repr(value)[:40]}
        ) from None
    if not math.isfinite(number):
        raise PydanticCustomError("invalid_value", "must be a finite number")
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,20}", value) else value


def _size(value: Any) -> Any:
    match = SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError(
            "invalid_value", "must be a width and a height in pixels, such as 1280x720"
        )
    return Size(int(match[1]), int(match[2]))


def _image(value: Any) -> Any:
    return _reference(value, ImageReference, "an image_url")


def _video(value: Any) -> Any:
    return _reference(value, VideoReference, "the id of a video")


def _reference(value: Any, kind: type[BaseModel], holding: str) -> Any:
    """A file, or an object, which may be JSON text in a form. Other text is a client's mistake."""
    if isinstance(value, UploadFile):
        return value
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise PydanticCustomError("invalid_value", "holds text that is not JSON") from None
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "invalid_type",
            "must be a file part (with a filename in its Content-Disposition)"
            " or an object with {holding}",
            {"holding": holding},
        )
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        inner = from_validation(error.errors())
        raise PydanticCustomError(
            "invalid_value", "{text}", {"text": inner.message.rstrip(".")}
        ) from None


class _Fields(BaseModel):
    """An object whose every field is known: one that is not is refused by its name."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ImageReference(_Fields):
    """An image that is somewhere else."""

    image_url: Annotated[
        str | None,
        Field(description="An https:// URL, or data:image/png;base64,…", examples=["https://…"]),
    ] = None
    file_id: Annotated[str | None, Field(description="A file uploaded before.")] = None

    @model_validator(mode="after")
    def _one(self) -> "ImageReference":
        if (self.image_url is None) == (self.file_id is None):
            raise PydanticCustomError("invalid_value", "it needs either image_url or file_id")
        return self


class VideoReference(_Fields):
    """A finished video of this service."""

    id: Annotated[str, Field(min_length=1)]


def _file_or(name: str) -> WithJsonSchema:
    """A file part, or an object with one text."""
    named = {
        "type": "object",
        "properties": {name: {"type": "string"}},
        "required": [name],
        "additionalProperties": False,
    }
    return WithJsonSchema({"anyOf": [{"type": "string", "format": "binary"}, named]})


Image = Annotated[UploadFile | ImageReference, BeforeValidator(_image), _file_or("image_url")]
SourceVideo = Annotated[UploadFile | VideoReference, BeforeValidator(_video), _file_or("id")]
Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_number)]
Seconds = Annotated[
    Number,
    Field(gt=0, le=3600),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "exclusiveMinimum": 0}]}),
]
SizeField = Annotated[
    Size,
    BeforeValidator(_size),
    WithJsonSchema({"type": "string", "pattern": f"^{SIZE.pattern}$", "examples": ["1280x720"]}),
]


def _no_nul(value: str) -> str:
    if "\0" in value:  # PostgreSQL's text has no place for it
        raise PydanticCustomError("invalid_value", "must not contain the character NUL")
    return value


Text = Annotated[str, AfterValidator(_no_nul)]
Prompt = Annotated[Text, StringConstraints(strip_whitespace=True)]


class Wanted(_Fields):
    """What every request for a video may say. Fields that OpenAI's API lacks are Kinora's own."""

    prompt: Annotated[Prompt, Field(min_length=1, description="What is to be seen.")]
    model: Annotated[
        Text | None, Field(min_length=1, max_length=128, description="A served model, or sora-2.")
    ] = None
    seed: Annotated[Whole | None, Field(ge=0, le=MAX_SEED, description="Chosen when absent.")] = (
        None
    )
    negative_prompt: Annotated[Prompt | None, Field(description="What is not to be seen.")] = None
    num_inference_steps: Annotated[Whole | None, Field(ge=1, description="Denoising steps.")] = None
    guidance_scale: Annotated[
        Number | None, Field(ge=0, le=100, description="Pull of the prompt.")
    ] = None
    flow_shift: Annotated[
        Number | None, Field(gt=0, le=100, description="Shift of the schedule towards noise.")
    ] = None


class VideoCreate(Wanted):
    """A request for a new video."""

    input_reference: Annotated[Image | None, Field(description="The first frame.")] = None
    size: Annotated[SizeField | None, Field(description="Width x height.")] = None
    seconds: Annotated[Seconds | None, Field(description="Length of the clip.")] = None
    fps: Annotated[Whole | None, Field(ge=1, le=120, description="Frames per second.")] = None
    last_frame: Annotated[Image | None, Field(description="The last frame.")] = None


class VideoRemix(Wanted):
    """A request to make a video anew from another one, whose size, rate and length it keeps."""

    strength: Annotated[
        Number | None, Field(gt=0, le=1, description="How far to go from the source.")
    ] = None


class VideoEdit(VideoRemix):
    """A request to edit a video that is uploaded, or a finished one."""

    video: Annotated[SourceVideo, Field(description="The video to edit.")]


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class Video(BaseModel):
    """A video and the job that makes it: OpenAI's fields, then Kinora's; every value resolved."""

    id: str
    object: Literal["video"] = "video"
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: Annotated[int, Field(ge=0, le=100)]
    model: str
    prompt: str
    size: str
    seconds: str
    created_at: int
    completed_at: int | None
    expires_at: int | None
    remixed_from_video_id: str | None
    error: JobError | None
    stage: Annotated[str, Field(description="queued, text, denoise, decode or upload")]
    started_at: int | None
    frames: int
    fps: int
    seed: int
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    flow_shift: float | None
    attempt: Annotated[int, Field(description="How often a worker has taken the job.")]
    queue_position: Annotated[
        int | None, Field(description="Jobs that run before this one; not told in lists.")
    ] = None
    eta_seconds: Annotated[int | None, Field(description="Estimate from the pace so far.")] = None


class VideoPage(BaseModel):
    """A page of videos; the next one starts after `last_id`."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class Model(BaseModel):
    """A model that a live worker serves, with what it can do."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "kinora"
    aliases: list[str]
    modes: Annotated[list[str], Field(description="text, image, first_last, edit")]
    workers: Annotated[int, Field(description="Workers that are alive now.")]
    sizes: list[str]
    default_size: str
    default_seconds: float
    max_seconds: float
    max_pixels: int
    fps: int
    num_inference_steps: int
    guidance_scale: float


class ModelList(BaseModel):
    """All served models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorBody(BaseModel):
    """What is wrong, and which parameter to change."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """The body of every answer with a status of 400 or above."""

    error: ErrorBody
