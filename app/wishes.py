"""What `kinora generate` asks for: its options as one request, before any server is known."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What a video is made of, as the option that says so -> where such a request goes.
PATHS = {
    "": "/v1/videos",
    "remix": "/v1/videos/{id}/remix",
    "video": "/v1/videos/edits",
    "extend": "/v1/videos/extensions",
    "blend": "/v1/videos/blends",
}
#: Options that not every kind of request has -> the kinds that do.
ONLY = {
    "image": ("",),
    "last-image": ("",),
    "size": ("",),
    "fps": ("",),
    "n": ("",),
    "storyboard": ("",),
    "seconds": ("", "extend", "blend"),
    "loop": ("", "extend"),
    "direction": ("extend",),
    "strength": ("remix", "video"),
}
#: Options whose field has another name.
FIELDS = {
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "guidance-2": "guidance_scale_2",
}
VIDEO_ID = re.compile(r"video_\w+", re.ASCII)


class WishError(ValueError):
    """Options that do not go together, or whose value cannot be read."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A request for videos. Pictures are still to be fitted to the size of the video."""

    fields: dict[str, Any]
    path: str = PATHS[""]
    #: field -> a file that is sent as it is
    files: dict[str, Path] = field(default_factory=dict)
    #: field -> a picture
    pictures: dict[str, Path] = field(default_factory=dict)


def wish(prompt: str, sources: Mapping[str, Any], options: Mapping[str, Any]) -> Wish:
    """The request that the options ask for; those that are None were not given.

    `sources` says what it is made of: remix (an id), video, extend (an id or a file), blend (two of
    those), of which one may be given. Raises WishError.
    """
    kinds = [name for name, value in sources.items() if value is not None]
    if len(kinds) > 1:
        raise WishError(f"--{kinds[0]} and --{kinds[1]} cannot be given together")
    kind = kinds[0] if kinds else ""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        _check(name, kind)
        if isinstance(value, float) and not math.isfinite(value):
            raise WishError(f"--{name} is a number, not {value}")
    path, fields, files = _made_of(kind, sources.get(kind))
    pictures: dict[str, Path] = {}
    for name, image in (("input_reference", "image"), ("last_frame", "last-image")):
        if (value := given.pop(image, None)) is not None:
            _picture(name, value, fields, pictures)
    if (shots := given.pop("storyboard", None)) is not None:
        fields["storyboard"] = _shots(shots)
    if (pairs := given.pop("metadata", None)) is not None:
        fields["metadata"] = _metadata(pairs)
    for name, value in given.items():
        fields[FIELDS.get(name, name.replace("-", "_"))] = value
    return Wish({"prompt": prompt} | fields, path, files, pictures)


def _check(name: str, kind: str) -> None:
    kinds = ONLY.get(name, (kind,))
    if kind in kinds:
        return
    if kind:
        kept = "; it keeps those of its source" if name in ("size", "fps", "seconds") else ""
        raise WishError(f"--{name} cannot be given with --{kind}{kept}")
    raise WishError(f"--{name} needs {' or '.join('--' + each for each in kinds)} beside it")


def _made_of(kind: str, value: Any) -> tuple[str, dict[str, Any], dict[str, Path]]:
    """Path, fields and files of a request of this kind."""
    fields: dict[str, Any] = {}
    files: dict[str, Path] = {}
    if kind == "remix":
        if not VIDEO_ID.fullmatch(value):
            raise WishError(f"--remix: {value} is not the id of a video")
        return PATHS[kind].format(id=value), fields, files
    names = {"": (), "blend": ("from_video", "to_video")}.get(kind, ("video",))
    for name, source in zip(names, [value] if isinstance(value, str) else value or (), strict=True):
        if Path(source).is_file():
            files[name] = Path(source)
        elif VIDEO_ID.fullmatch(source):
            fields[name] = {"id": source}
        else:
            raise WishError(f"--{kind}: {source} is neither a file nor the id of a video")
    return PATHS[kind], fields, files


def _picture(name: str, value: str, fields: dict[str, Any], pictures: dict[str, Path]) -> None:
    """A picture is a file, to be fitted, or an address that the server fetches."""
    if value.startswith(("https://", "http://", "data:")):
        fields[name] = {"image_url": value}
    elif Path(value).is_file():
        pictures[name] = Path(value)
    else:
        option = "--image" if name == "input_reference" else "--last-image"
        raise WishError(f"{option}: {value} is neither a file nor an address")


def _shots(path: Path) -> list[dict[str, Any]]:
    """The storyboard in a file: a JSON list of {prompt, seconds}, or a line `SECONDS PROMPT` each.

    Raises WishError, and OSError for a file that cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WishError(f"--storyboard: {path} is not UTF-8: {error.reason}") from None
    if text.lstrip()[:1] == "[":
        try:
            return json.loads(text)
        except ValueError as error:
            raise WishError(f"--storyboard: {path} is not JSON: {error}") from None
    shots: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*s?\s+(\S.*)", line)
        if match is None:
            raise WishError(
                f"--storyboard: line {number} of {path} should be SECONDS PROMPT, such as"
                " `2.5 a red ball bounces on the grass`"
            )
        shots.append({"prompt": match[2].strip(), "seconds": float(match[1])})
    return shots


def _metadata(pairs: Sequence[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    found = {name: value for name, mark, value in split if mark}
    if len(found) != len(pairs):
        raise WishError("--metadata is written NAME=VALUE, each name once")
    return found
