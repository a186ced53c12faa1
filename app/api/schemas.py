"""What the API takes, as pydantic models; the OpenAPI document is made from these.

Fields that OpenAI's API lacks are Kinora's own. One that is absent gets the model's own value.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.api.fields import (
    MAX_SEED,
    AutoSize,
    Fields,
    Flag,
    Image,
    Metadata,
    Number,
    Prompt,
    Seconds,
    SizeField,
    SourceImage,
    SourceVideo,
    Storyboard,
    Text,
    Whole,
)
from app.contract.capabilities import MAX_FPS

MAX_PRIORITY = 100
MAX_COPIES = 4
MAX_PICTURES = 10
MAX_PARTIAL = 3


class Wanted(Fields):
    """What every request for something to be made may say."""

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
    guidance_scale_2: Annotated[
        Number | None, Field(ge=0, le=100, description="As it, for the second of two experts.")
    ] = None
    flow_shift: Annotated[
        Number | None, Field(gt=0, le=100, description="Shift of the schedule towards noise.")
    ] = None
    style: Annotated[
        Text | None, Field(min_length=1, max_length=64, description="One of the model's styles.")
    ] = None


class VideoWanted(Wanted):
    """What every request for a video may say."""

    priority: Annotated[
        Whole | None,
        Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Higher runs first; 0 when absent."),
    ] = None
    metadata: Annotated[Metadata | None, Field(description="Up to 16 texts to keep with it.")] = (
        None
    )
    webhook_url: Annotated[
        Text | None, Field(min_length=1, max_length=2048, description="Called when it has ended.")
    ] = None


class VideoCreate(VideoWanted):
    """A request for a new video."""

    input_reference: Annotated[Image | None, Field(description="The first frame.")] = None
    size: Annotated[SizeField | None, Field(description="Width x height.")] = None
    seconds: Annotated[Seconds | None, Field(description="Length of the clip.")] = None
    fps: Annotated[Whole | None, Field(ge=1, le=MAX_FPS, description="Frames per second.")] = None
    last_frame: Annotated[Image | None, Field(description="The last frame.")] = None
    loop: Annotated[Flag | None, Field(description="Let the end lead to the beginning.")] = None
    storyboard: Annotated[
        Storyboard | None,
        Field(description="Prompts one after the other; the prompt is then only the title."),
    ] = None
    n: Annotated[Whole | None, Field(ge=1, le=MAX_COPIES, description="How many videos.")] = None


class VideoRemix(VideoWanted):
    """A request to make a video anew from another one, whose size, rate and length it keeps."""

    strength: Annotated[
        Number | None, Field(gt=0, le=1, description="How far to go from the source.")
    ] = None


class VideoEdit(VideoRemix):
    """A request to edit a video that is uploaded, or a finished one."""

    video: Annotated[SourceVideo, Field(description="The video to edit.")]


class VideoExtend(VideoWanted):
    """A request to make a video longer; its own frames stay as they are."""

    video: Annotated[SourceVideo, Field(description="The video to make longer.")]
    seconds: Annotated[Seconds | None, Field(description="Length of what is added.")] = None
    direction: Annotated[
        Literal["forward", "backward"] | None, Field(description="Which end to make longer.")
    ] = None
    loop: Annotated[
        Flag | None, Field(description="Let what is added lead back to the beginning.")
    ] = None


class VideoBlend(VideoWanted):
    """A request for one clip of two, and a way from the first to the second between them."""

    from_video: Annotated[SourceVideo, Field(description="The video that comes first.")]
    to_video: Annotated[SourceVideo, Field(description="The video that comes last.")]
    seconds: Annotated[Seconds | None, Field(description="Length of the way between.")] = None


class CharacterCreate(Fields):
    """A request to keep somebody's looks under a name."""

    name: Annotated[Text, Field(min_length=1, max_length=128)]
    video: Annotated[SourceVideo, Field(description="A clip that shows the character.")]


class ImageGenerate(Wanted):
    """A request for pictures. Of OpenAI's fields for which there is one way here, only the value
    that means this way is taken.
    """

    n: Annotated[Whole | None, Field(ge=1, le=MAX_PICTURES, description="How many.")] = None
    size: Annotated[AutoSize, Field(description="Width x height, or auto.")] = None
    output_format: Annotated[
        Literal["png", "webp", "jpeg"] | None, Field(description="png when absent.")
    ] = None
    response_format: Annotated[
        Literal["b64_json", "url"] | None, Field(description="b64_json when absent.")
    ] = None
    output_compression: Annotated[Whole | None, Field(ge=100, le=100)] = None
    quality: Literal["auto", "standard"] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto"] | None = None
    user: Annotated[Text | None, Field(max_length=512, description="Kept with the job.")] = None
    stream: Annotated[Flag | None, Field(description="Answer with events.")] = None
    partial_images: Annotated[
        Whole | None,
        Field(ge=0, le=MAX_PARTIAL, description="Pictures on the way, in a stream."),
    ] = None


class ImageEdit(ImageGenerate):
    """A request to make a picture anew, whose size it keeps."""

    image: Annotated[SourceImage, Field(description="The picture to edit.")]
    strength: Annotated[
        Number | None, Field(gt=0, le=1, description="How far to go from the source.")
    ] = None
