"""A job: what is to be rendered (`JobSpec`) and how far it is (`Job`)."""

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

SPEC_VERSION = 1


class Status(StrEnum):
    """The four states that OpenAI's clients know. Cancelled is failed, with that error code."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class Stage(StrEnum):
    """What a job is doing within its status."""

    QUEUED = "queued"
    TEXT = "text"
    DENOISE = "denoise"
    DECODE = "decode"
    UPLOAD = "upload"


class JobNotFound(LookupError):
    """No such job, or it belongs to somebody else, or it was deleted."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} does not exist")
        self.job_id = job_id


class MoveRefused(RuntimeError):
    """A status move whose guard did not hold; nothing was changed."""

    def __init__(self, job_id: str, move: str, found: str) -> None:
        super().__init__(f"job {job_id} cannot be moved by {move!r}: it is {found}")
        self.job_id, self.move, self.found = job_id, move, found


class DuplicateKey(ValueError):
    """An idempotency key came back with another request body."""

    def __init__(self, key: str) -> None:
        super().__init__(f"idempotency key {key!r} was already used with another request")


class SpecError(ValueError):
    """A stored spec cannot be read by this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A part of a storyboard: what these frames show."""

    prompt: str
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Everything a worker needs to render a job again and get the same frames; all resolved.

    `image`, `last_image`, `video`, `before` and `after` are blob keys; the last two are clips, with
    `fps` frames a second, that the new frames go on from and lead to. Sizes are pixels, `frames`
    counts the new frames. `output` is the file type: mp4 for clips; png, webp or jpeg for stills
    (one frame).
    """

    model: str
    prompt: str
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    seed: int
    guidance_2: float | None = None
    flow_shift: float | None = None
    negative_prompt: str = ""
    image: str | None = None
    last_image: str | None = None
    video: str | None = None
    strength: float | None = None
    before: str | None = None
    after: str | None = None
    #: lengths of those two clips; a worker refuses a clip that has another one
    before_frames: int = 0
    after_frames: int = 0
    #: the result is `before`, the new frames and `after` in one clip, not the new frames alone; a
    #: clip that is both is in it once, at the beginning
    stitch: bool = False
    #: the end leads back to the beginning
    loop: bool = False
    #: prompts one after the other; their frames add up to `frames`
    shots: tuple[Shot, ...] = ()
    output: str = "mp4"

    @property
    def clip_frames(self) -> int:
        """Length of the result in frames."""
        if not self.stitch:
            return self.frames
        return self.before_frames + self.frames + self.appended_frames

    @property
    def appended_frames(self) -> int:
        """Length of what follows on the new frames in the result."""
        return self.after_frames if self.stitch and self.after != self.before else 0

    @property
    def steps_made(self) -> float:
        """Denoising steps of a run, about: an edit takes the last part of them only."""
        return self.steps * (1.0 if self.strength is None else self.strength)

    @property
    def seconds(self) -> float:
        """Length of the result."""
        return self.clip_frames / self.fps

    def to_json(self) -> str:
        """The spec with its version, for the row. What is not used is left out, so that a worker
        of an older version, which may not know it, can read the rest. So no default may change.
        """
        usual = {f.name: f.default for f in fields(self)}
        given = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return json.dumps({"version": SPEC_VERSION, **given}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what any version since the first wrote; refuses newer versions and unknown keys."""
        values = json.loads(text)
        version = values.pop("version", None)
        if version != SPEC_VERSION:
            raise SpecError(
                f"spec has version {version}, this program reads version {SPEC_VERSION}"
            )
        unknown = sorted(values.keys() - {f.name for f in fields(cls)})
        if unknown:
            raise SpecError(f"spec has unknown keys: {', '.join(unknown)}")
        values["shots"] = tuple(Shot(**shot) for shot in values.get("shots", ()))
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job's row as it was read. Times are Unix seconds of the database's clock."""

    id: str
    owner: str
    #: the model as the client named it, echoed back
    model_name: str
    spec: JobSpec
    status: Status
    stage: Stage
    #: share of the work that is really done, 0 to 1
    progress: float
    priority: int
    #: free for the API: what it wants to echo (metadata, the client's `seconds` and `size`, ...)
    extra: dict[str, Any]
    remixed_from: str | None
    #: the API key that asked, or nothing
    key_id: str
    batch_id: str | None
    #: where to tell of the job's end, beside the owner's webhook endpoints
    webhook_url: str | None
    #: how often a worker has claimed the job; fences every write of a worker
    attempt: int
    #: workers lost while they had the job
    losses: int
    worker: str | None
    lease_until: float | None
    cancel_requested: bool
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    error_code: str | None
    error_message: str | None
    output_key: str | None
    output_bytes: int | None
    #: blob key of a WebP picture of the clip
    thumbnail_key: str | None

    @property
    def percent(self) -> int:
        """Whole per cent; 100 only when completed."""
        return 100 if self.status is Status.COMPLETED else min(99, int(self.progress * 100))

    @property
    def finished(self) -> bool:
        """No move leads on from here."""
        return self.status in (Status.COMPLETED, Status.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a worker stored for a finished job."""

    key: str
    size_bytes: int
    thumbnail_key: str | None = None


def output_prefix(job_id: str) -> str:
    """All outputs of a job."""
    return f"videos/{job_id}/"


def output_key(job_id: str, attempt: int, name: str) -> str:
    """Where an attempt stores a file; another attempt never overwrites it."""
    return f"{output_prefix(job_id)}{attempt}/{name}"


def input_prefix(job_id: str) -> str:
    """All inputs of a job."""
    return f"inputs/{job_id}/"


def input_key(job_id: str, name: str) -> str:
    """Where the API stores a reference, for example `image.png`."""
    return f"{input_prefix(job_id)}{name}"
