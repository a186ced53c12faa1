import ctypes
import io
import resource
import subprocess
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from app.contract import outputs
from app.contract.job import Status
from model.replay import Decoding
from worker import generation
from worker.render import render

#: glibc's name for the size from which memory comes from the system itself.
M_MMAP_THRESHOLD = -3


@pytest.fixture
def large(spec):
    """A clip whose frames take much more memory to decode than to denoise."""
    return replace(spec, width=768, height=768, frames=5, steps=2)


@pytest.fixture
def memory():
    """Limits the memory of this process to what it has now and a little more, or lifts that."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.mallopt(M_MMAP_THRESHOLD, 2**16)
    held = []

    def allow(more):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))

    def limit(is_limited):
        resource.setrlimit(resource.RLIMIT_AS, before)
        while held:
            libc.free(held.pop())
        libc.malloc_trim(0)
        if is_limited:
            # What earlier tests freed would be used again without asking the system: take it.
            allow(2 * 2**20)
            while block := libc.malloc(2**20):
                held.append(block)
            allow(8 * 2**20)

    yield limit
    limit(False)


def pixels(data):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "-", "-pix_fmt", "rgb24"]
    command += ["-f", "rawvideo", "-"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).astype(int)


def rendered(place, spec):
    job = place.store.create(spec)[0]
    render(place.store.claim(spec.model, "w", 60), place)
    return place.store.get(job.id)


def test_a_job_that_ran_out_of_memory_goes_on_from_its_last_step(place, large, memory):
    looks = {}

    def looked(short):
        looks[short] = looks.get(short, 0) + 1
        memory(short and looks[short] == 3)  # while the first frame is decoded, and no longer
        return False

    plain, done = (
        rendered(replace(place, stopping=partial(looked, short)), large) for short in (False, True)
    )
    assert (done.status, done.error_message) == (Status.COMPLETED, None)
    assert looks[True] == looks[False] + 1  # the text is read again, and no step is done again
    whole, tiled = (pixels(place.blobs.get(job.output_key)) for job in (plain, done))
    assert np.abs(whole - tiled).mean() < 0.1  # tiles may round differently


def test_a_job_that_is_stopped_after_memory_ran_out_is_gone_on_with(place, large, monkeypatch):
    job, decode, decoded = place.store.create(large)[0], Decoding.next, count(1)
    looks = []

    def short(*arguments):
        if next(decoded) == 2:  # the first frame has been given out
            raise MemoryError
        return decode(*arguments)

    def looked():
        looks.append(len(looks))
        return len(looks) == 5  # where the work goes on in a way that takes less

    monkeypatch.setattr(Decoding, "next", short)
    render(place.store.claim(large.model, "w", 60), replace(place, stopping=looked))
    assert Status.QUEUED is place.store.get(job.id).status
    render(place.store.claim(large.model, "w", 60), replace(place, stopping=looked))
    assert Status.COMPLETED is place.store.get(job.id).status
    files = 1 + len(outputs.CONTENT_TYPES)
    assert len(looks) == 5 + 3 + files  # the text and two latent frames, and no step again


def test_where_memory_is_known_to_be_short_a_job_takes_less_from_the_beginning(place, large):
    plain, saving = (
        place.blobs.get(rendered(replace(place, usable=usable), large).output_key)
        for usable in (2**40, 0)
    )
    assert plain != saving  # halves of guidance round differently
    assert np.abs(pixels(plain) - pixels(saving)).mean() < 1


def test_a_job_that_is_too_large_fails_and_the_next_one_does_not(place, large, spec, memory):
    steps = count(1)

    def looked():
        if next(steps) == 3:
            memory(True)
        return False

    failed = rendered(replace(place, stopping=looked), large)
    memory(False)
    assert (failed.status, failed.error_code) == (Status.FAILED, "out_of_memory")
    assert "too little memory" in failed.error_message
    assert list(place.blobs.list()) == []
    assert rendered(place, spec).status is Status.COMPLETED


def test_who_watches_sees_pictures_until_the_job_ends(place, spec, monkeypatch):
    monkeypatch.setattr(generation, "PREVIEW_S", 0.0)
    monkeypatch.setattr(generation, "PREVIEW_SHARE", 1e9)
    seen = {}
    job = place.store.create(spec)[0]

    def looked():
        if (preview := place.previews.get(job.id)) is not None:
            seen[preview.version] = preview.picture
        return False

    render(place.store.claim(spec.model, "w", 60), replace(place, stopping=looked))
    assert len(seen) >= spec.steps
    assert sorted(seen) == list(seen)
    with Image.open(io.BytesIO(list(seen.values())[-1])) as picture:
        assert (picture.format, picture.size) == ("WEBP", (spec.width, spec.height))
    assert place.previews.get(job.id) is None
