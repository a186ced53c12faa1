"""What goes wrong while rendering, as (code, message, retry): one table."""

from dataclasses import dataclass

from obstore.exceptions import BaseError as StorageError

from app.contract.blobs import BlobDamaged, BlobNotFound
from app.contract.job import SpecError
from worker.encode import EncodeError


class ImageError(ValueError):
    """A stored picture cannot be read, however often it is asked for."""


class DecodeError(RuntimeError):
    """The program that reads a clip was killed, or had too little memory: the clip may be good."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a job ends after an exception: at once, or after another try (`retry`)."""

    code: str
    message: str
    retry: bool


#: The first row whose exception matches counts. None as message means the exception's own words,
#: which are written for the client; other exceptions' words may name paths of this machine.
TABLE: tuple[
    tuple[type[BaseException] | tuple[type[BaseException], ...], str, str | None, bool], ...
] = (
    (SpecError, "invalid_job", None, False),
    (BlobNotFound, "input_missing", "A reference of the job is no longer stored.", False),
    (ImageError, "invalid_image", "A reference of the job is not an image.", False),
    (BlobDamaged, "storage_error", "The video could not be stored.", True),
    (EncodeError, "encode_failed", "The frames could not be encoded.", True),
    (DecodeError, "worker_error", "The program that reads videos was killed.", True),
    (StorageError, "storage_error", "The object storage did not answer.", True),
    (OSError, "worker_error", "The worker had a system error, such as a full disk.", True),
    (ValueError, "invalid_request", None, False),
)

OUT_OF_MEMORY = "The worker has too little memory for a video of this size."
#: How the host's allocator and CUDA's libraries say it: cuDNN finds no algorithm for want of room.
SHORTAGES = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",
)
UNKNOWN = Failure("server_error", "The worker failed in an unexpected way.", True)
#: Every code that `failure_of` gives.
CODES = {code for _, code, _, _ in TABLE} | {"out_of_memory", UNKNOWN.code}
#: Those whose cause may be the worker rather than the job.
OF_WORKERS = {code for _, code, _, retry in TABLE if retry} | {UNKNOWN.code}


def failure_of(error: BaseException) -> Failure:
    """The table's row for an exception."""
    if is_out_of_memory(error):
        return Failure("out_of_memory", OUT_OF_MEMORY, False)
    for kind, code, message, retry in TABLE:
        if isinstance(error, kind):
            return Failure(code, message or str(error), retry)
    return UNKNOWN


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the host, had no memory left. Torch, which this module does not import,
    has an exception of its own for devices and none for the host.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(said in str(error) for said in SHORTAGES))
    )
