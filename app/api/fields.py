"""The kinds of values that requests carry, in JSON or as the text of a form."""

import json
import math
import re
from typing import Annotated, Any, NamedTuple, TypeVar

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

T = TypeVar("T", bound=BaseModel)

#: Seeds above this could not be echoed exactly to a client whose JSON numbers are doubles.
MAX_SEED = 2**53 - 1
#: Names that a JSON object may have, as a form may: each unknown one costs a kilobyte.
MAX_NAMES = 256
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


def _flag(value: Any) -> Any:
    """True or false, also as a form's text."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    if not isinstance(value, bool):
        raise PydanticCustomError("invalid_type", "must be true or false")
    return value


def read_json(text: bytes | str) -> Any:
    """What a JSON text says. Raises ValueError, also for what JSON lacks (NaN, half surrogates) and
    for an object with too many names, or with one twice, of whose values one would be ignored.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise ValueError("it is not valid UTF-8 text") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_NAMES:
        raise ValueError(f"an object has more than {MAX_NAMES} names")
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name[:80]!r} is there twice")
        found[name] = value
    return found


def parsed(value: Any) -> Any:
    """A list or an object, which may be JSON text in a form."""
    if not isinstance(value, str):
        return value
    try:
        return read_json(value)
    except ValueError:
        raise PydanticCustomError("invalid_value", "holds text that is not JSON") from None


def _image(value: Any) -> Any:
    return _reference(value, ImageReference, "an image_url")


def _video(value: Any) -> Any:
    return _reference(value, VideoReference, "the id of a video")


def _reference(value: Any, kind: type[BaseModel], holding: str) -> Any:
    """A file, or an object, which may be JSON text in a form. Other text is a client's mistake."""
    if isinstance(value, UploadFile):
        return value
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        value = parsed(value)
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


class Fields(BaseModel):
    """An object whose every field is known: one that is not is refused by its name."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ImageReference(Fields):
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


class VideoReference(Fields):
    """A finished video of this service, or an uploaded one."""

    id: Annotated[str | None, Field(min_length=1)] = None
    file_id: Annotated[str | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _one(self) -> "VideoReference":
        if (self.id is None) == (self.file_id is None):
            raise PydanticCustomError("invalid_value", "it needs either id or file_id")
        return self


def _file_or(*names: str) -> WithJsonSchema:
    """A file part, or an object with one text."""
    named = [
        {
            "type": "object",
            "properties": {name: {"type": "string"}},
            "required": [name],
            "additionalProperties": False,
        }
        for name in names
    ]
    return WithJsonSchema({"anyOf": [{"type": "string", "format": "binary"}, *named]})


Image = Annotated[
    UploadFile | ImageReference, BeforeValidator(_image), _file_or("image_url", "file_id")
]
SourceVideo = Annotated[
    UploadFile | VideoReference, BeforeValidator(_video), _file_or("id", "file_id")
]
Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]
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


def _picture_size(value: Any) -> Any:
    return None if value in (None, "auto") else _size(value)


AutoSize = Annotated[
    Size | None,
    BeforeValidator(_picture_size),
    WithJsonSchema({"type": "string", "pattern": f"^(auto|{SIZE.pattern})$"}),
]


def _single(value: Any) -> Any:
    """One picture, also as a list of one, which clients make of it."""
    if isinstance(value, list):
        if len(value) != 1:
            raise PydanticCustomError("invalid_value", "must be one picture")
        value = value[0]
    return _image(value)


SourceImage = Annotated[
    UploadFile | ImageReference, BeforeValidator(_single), _file_or("image_url", "file_id")
]


def _no_nul(value: str) -> str:
    if "\0" in value:  # PostgreSQL's text has no place for it
        raise PydanticCustomError("invalid_value", "must not contain the character NUL")
    return value


Text = Annotated[str, AfterValidator(_no_nul)]
Prompt = Annotated[Text, StringConstraints(strip_whitespace=True)]

#: Texts by name, as OpenAI's other APIs take them.
MAX_PAIRS = 16
Metadata = Annotated[
    dict[
        Annotated[Text, StringConstraints(min_length=1, max_length=64)],
        Annotated[Text, StringConstraints(max_length=512)],
    ],
    BeforeValidator(parsed),
    Field(max_length=MAX_PAIRS),
]


class Shot(Fields):
    """A part of a storyboard."""

    prompt: Annotated[Prompt, Field(min_length=1, description="What this part shows.")]
    seconds: Annotated[Seconds, Field(description="How long it lasts.")]


MAX_SHOTS = 20
#: Of a million mistakes the first is told, and the others are not even looked for.
Storyboard = Annotated[
    list[Shot],
    Field(min_length=1, max_length=MAX_SHOTS, fail_fast=True),
    BeforeValidator(parsed),
]


def validated(kind: type[T], fields: dict[str, Any]) -> T:
    """The body's fields as a request of this kind. Raises InvalidRequest."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error.errors()) from None
