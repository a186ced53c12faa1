"""Settings shared by every process: one frozen object, read once from `KINORA_*` variables.

A field's variable is `KINORA_` and the field's name in capitals. Every field carries a sentence of
documentation in its metadata, from which the README's table is checked.
"""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, TypeVar, get_args, get_type_hints

T = TypeVar("T")
PREFIX = "KINORA_"
#: No lease is longer: one that ends later was given before the database's clock was put back.
LONGEST_LEASE_S = 600.0


class SettingsError(ValueError):
    """A setting is missing or has a value that cannot be used; the message names the variable."""


def setting(default: Any, doc: str) -> Any:
    """A dataclass field with its default and the sentence that documents it."""
    return field(default=default, metadata={"doc": doc})


def variable(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def documentation(cls: type) -> dict[str, tuple[object, str]]:
    """Environment variable -> (default, sentence), for every setting of a settings class."""
    return {variable(f.name): (f.default, f.metadata["doc"]) for f in fields(cls)}


def read_environment(cls: type[T], environ: Mapping[str, str]) -> T:
    """Builds a settings class from the variables present in `environ`; an empty one is absent."""
    hints = get_type_hints(cls)
    values = {}
    for f in fields(cls):  # type: ignore[arg-type]
        text = environ.get(variable(f.name), "")
        if text != "":
            values[f.name] = _parse(variable(f.name), text, hints[f.name])
        elif f.default is MISSING:
            raise SettingsError(f"{variable(f.name)} must be set: {f.metadata['doc']}")
    return cls(**values)


def _parse(name: str, text: str, hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] or [hint]
    kind = kinds[0]
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                text.lower()
            ]
        return kind(text)
    except (ValueError, KeyError) as error:
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}
        raise SettingsError(f"{name} is {text!r}, but must be {wanted.get(kind, kind)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the API, the workers and the courier must agree on, and the limits of the API."""

    data: Path = setting(  # noqa: RUF009 - `setting` makes a field
        Path("kinora-data"), "Folder of everything the embedded service keeps; made when missing."
    )
    database_url: str = setting(
        "",
        "SQL database: `sqlite:///FILE` or `postgresql://…`. "
        "Default: `kinora.db` in the data folder.",
    )
    redis_url: str = setting(
        "redis://127.0.0.1:6379/0",
        "Redis that carries the queue: `redis://…`, `rediss://…` or `unix://SOCKET`.",
    )
    storage_url: str = setting(
        "",
        "Where images and videos are kept: `file:///FOLDER` or `s3://BUCKET[/PREFIX]`. "
        "Default: `blobs` in the data folder.",
    )
    s3_endpoint: str = setting(
        "", "Address of an S3 server other than AWS, for example `http://s3:8333`."
    )
    s3_region: str = setting("us-east-1", "Region of the S3 bucket.")
    s3_access_key_id: str = setting("", "S3 access key id. Default: the standard AWS variables.")
    s3_secret_access_key: str = setting("", "S3 secret key. Default: the standard AWS variables.")

    host: str = setting(
        "127.0.0.1", "Address the API listens on; beyond loopback an API key must exist."
    )
    port: int = setting(8000, "Port the API listens on.")
    public_url: str = setting(
        "", "Address at which clients reach the API, for links. Default: from the request."
    )
    log_level: str = setting("info", "Least level that is logged: debug, info, warning or error.")
    log_format: str = setting(
        "auto", "`json`, `console`, or `auto`: console on a terminal, else json."
    )

    default_model: str = setting(
        "",
        "Model used when a request names none or an OpenAI name. "
        "Default: the first registered one.",
    )
    max_queued: int = setting(
        1000, "Jobs that may wait in all; beyond it new ones are answered 429."
    )
    max_body_bytes: int = setting(32 * 2**20, "Largest request body, in bytes; beyond it 413.")
    max_file_bytes: int = setting(
        512 * 2**20, "Largest file that can be uploaded to `/v1/files`, in bytes; beyond it 413."
    )
    max_batch_lines: int = setting(10_000, "Requests that one batch may have.")
    max_prompt_chars: int = setting(4000, "Longest prompt, in characters.")
    max_image_pixels: int = setting(50_000_000, "Largest reference image, in pixels.")
    max_video_frames: int = setting(3600, "Longest reference video, in frames.")
    fetch_timeout_s: float = setting(10.0, "Seconds that fetching an image by URL may take.")
    fetch_private: bool = setting(
        False, "Allow image URLs that lead to private addresses. For tests only."
    )
    expire_hours: float = setting(
        0.0, "Hours after which a finished video is removed; 0 keeps it for ever."
    )
    orphan_hours: float = setting(
        24.0, "Hours after which a stored object that no row names is removed; 0 never removes one."
    )
    stream_keep_s: float = setting(
        900.0, "Seconds in which a finished video can still be watched as a stream."
    )
    download_redirect_s: float = setting(
        0.0,
        "Seconds for which a download is redirected to a signed URL of the S3 storage; "
        "0 sends it through the API.",
    )
    image_wait_s: float = setting(
        300.0, "Seconds that a call of the images API waits for its pictures."
    )
    duplicate_window_s: float = setting(
        600.0, "Seconds in which a client library's repeated create is answered with the first job."
    )

    webhook_allow_private: bool = setting(
        False, "Allow webhook URLs that are not https or lead to private addresses."
    )
    webhook_timeout_s: float = setting(
        15.0, "Seconds that a webhook receiver may take to answer; then it is tried again later."
    )
    moderation_url: str = setting(
        "",
        "Moderation service that every prompt is shown to, as OpenAI's `…/v1/moderations`. "
        "Default: none.",
    )
    moderation_key: str = setting("", "Key that is sent to the moderation service.")
    moderation_model: str = setting("", "Model that the moderation service is asked for.")
    moderation_required: bool = setting(
        True, "Refuse prompts with 503 while the moderation service fails; false lets them pass."
    )
    prompt_expander_url: str = setting(
        "",
        "Language model that writes short prompts out, as OpenAI's `…/v1/chat/completions`. "
        "Default: none.",
    )
    prompt_expander_key: str = setting("", "Key that is sent to the prompt expander.")
    prompt_expander_model: str = setting("", "Model that the prompt expander is asked for.")
    prompt_expander_required: bool = setting(
        False,
        "Refuse with 503 while the prompt expander fails; false takes them as they are.",
    )
    hook_timeout_s: float = setting(
        10.0, "Seconds that the moderation service or the prompt expander may take."
    )

    lease_s: float = setting(
        20.0, "Seconds without a heartbeat after which a worker has lost its job; at most 600."
    )
    heartbeat_s: float = setting(1.0, "Seconds between a worker's heartbeats.")
    sweep_s: float = setting(5.0, "Seconds between the courier's sweeps.")
    max_losses: int = setting(3, "Workers that a job may lose before it fails with `worker_lost`.")

    def __post_init__(self) -> None:
        """Fills the defaults that follow from the data folder, and checks the values."""
        data = Path(self.data).expanduser().absolute()
        object.__setattr__(self, "data", data)
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{data / 'kinora.db'}")
        if not self.storage_url:
            object.__setattr__(self, "storage_url", (data / "blobs").as_uri())
        if self.log_format not in ("auto", "json", "console"):
            raise SettingsError(
                f"KINORA_LOG_FORMAT is {self.log_format!r}, but must be auto, json or console"
            )
        if self.log_level.lower() not in ("debug", "info", "warning", "error"):
            raise SettingsError(
                f"KINORA_LOG_LEVEL is {self.log_level!r}, but must be debug, info, warning or error"
            )
        if not 0 <= self.port < 2**16:
            raise SettingsError(f"KINORA_PORT is {self.port}, but must be below 65536")
        for name in ("expire_hours", "orphan_hours"):  # or all would be too old at once
            if not getattr(self, name) >= 0:
                raise SettingsError(f"{variable(name)} must be 0, which is never, or above")
        if not self.sweep_s > 0:
            raise SettingsError("KINORA_SWEEP_S must be above 0")
        if not 0 < self.heartbeat_s < self.lease_s:
            raise SettingsError("KINORA_HEARTBEAT_S must be above 0 and below KINORA_LEASE_S")
        if self.lease_s > LONGEST_LEASE_S:
            raise SettingsError(f"KINORA_LEASE_S must be at most {LONGEST_LEASE_S:g}")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Reads the process environment (or the given one)."""
        return read_environment(cls, os.environ if environ is None else environ)

    @property
    def url(self) -> str:
        """Where the API answers, as seen from this machine."""
        host = self.host
        if host in ("0.0.0.0", "::", ""):  # noqa: S104 - that is: on every address
            host = "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def to_env(self) -> dict[str, str]:
        """The variables that give a child process these settings."""
        return {variable(f.name): _text(getattr(self, f.name)) for f in fields(self)}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
