import pytest
import torch
from obstore.exceptions import GenericError

from app.contract.blobs import BlobNotFound
from app.contract.job import SpecError
from worker.encode import EncodeError
from worker.failures import TABLE, UNKNOWN, DecodeError, ImageError, failure_of


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (BlobNotFound("inputs/x"), "input_missing", False),
        (ImageError("x"), "invalid_image", False),
        (SpecError("version 9"), "invalid_job", False),
        (ValueError("frames: must be 4k + 1"), "invalid_request", False),
        (EncodeError("ffmpeg ended with code 1"), "encode_failed", True),
        (DecodeError("ffmpeg was ended by signal 9"), "worker_error", True),
        (GenericError("503"), "storage_error", True),
        (OSError(28, "No space left on device"), "worker_error", True),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", False),
        (MemoryError(), "out_of_memory", False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory", False),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory", False),
        (
            RuntimeError("GET was unable to find an engine to execute this computation"),
            "out_of_memory",
            False,
        ),
        (KeyError("x"), "server_error", True),
    ],
)
def test_every_fault_has_a_code_and_says_whether_to_try_again(error, code, retry):
    failure = failure_of(error)
    assert (code, retry) == (failure.code, failure.retry)


def test_only_words_written_for_clients_reach_them():
    assert failure_of(ValueError("frames: must be 4k + 1")).message == "frames: must be 4k + 1"
    assert "/secret" not in failure_of(OSError(2, "No such file", "/secret/path")).message
    assert failure_of(RuntimeError("/secret/path")) == UNKNOWN


def test_messages_are_sentences():
    assert all(message is None or message.endswith(".") for _, _, message, _ in TABLE)
