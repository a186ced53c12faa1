"""What the API gives, as pydantic models; the OpenAPI document is made from these."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class Tiles(BaseModel):
    """The grid of a sprite sheet: tile k is in column k % columns of row k // columns."""

    columns: int
    rows: int
    width: Annotated[int, Field(description="Of one tile, in pixels.")]
    height: int
    frames: Annotated[int, Field(description="Tiles that are filled.")]


class StoryboardShot(BaseModel):
    """A part of a storyboard as it is made."""

    prompt: str
    seconds: float


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
    operation: Annotated[
        str, Field(description="create, remix, edit, extension, blend or image: what was asked for")
    ]
    started_at: int | None
    revised_prompt: Annotated[
        str | None, Field(description="What the model was told, where that is not the prompt.")
    ]
    frames: Annotated[int, Field(description="Of the finished file.")]
    fps: int
    seed: int
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    guidance_scale_2: float | None
    flow_shift: float | None
    strength: float | None
    style: str | None
    loop: bool
    direction: Literal["forward", "backward"] | None
    storyboard: list[StoryboardShot] | None
    priority: int
    metadata: dict[str, str]
    webhook_url: str | None
    siblings: Annotated[list[str], Field(description="The other videos of the same request.")]
    source_video_ids: Annotated[list[str], Field(description="The videos that it was made from.")]
    attempt: Annotated[int, Field(description="How often a worker has taken the job.")]
    spritesheet: Annotated[Tiles | None, Field(description="Of a finished clip.")] = None
    queue_position: Annotated[
        int | None, Field(description="Jobs that run before this one; not told in lists.")
    ] = None
    eta_seconds: Annotated[
        int | None,
        Field(description="Until it is finished, by what workers measured; not told in lists."),
    ] = None


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


class Character(BaseModel):
    """Somebody's looks, kept under a name."""

    id: str
    created_at: int
    name: str


class Picture(BaseModel):
    """A finished picture: itself, or where it is."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class Pictures(BaseModel):
    """The answer to a request for pictures."""

    created: int
    data: list[Picture]
    size: str
    output_format: str
    background: Literal["opaque"] = "opaque"
    quality: Literal["auto"] = "auto"


class Model(BaseModel):
    """A model that a live worker serves, with what it can do."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "kinora"
    aliases: list[str]
    modes: Annotated[
        list[str],
        Field(description="text, image, first_last, edit, extend, lead_in, loop, storyboard"),
    ]
    workers: Annotated[int, Field(description="Workers that are alive now.")]
    sizes: list[str]
    default_size: str
    default_seconds: float
    max_seconds: float
    max_pixels: int
    fps: int
    num_inference_steps: int
    max_steps: int
    guidance_scale: float
    guidance_scale_2: float | None
    flow_shift: float | None
    strength: Annotated[float, Field(description="How far an edit goes from its source.")]
    styles: list[str]


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
