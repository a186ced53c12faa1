import io
import os
import subprocess
import threading
import time
from dataclasses import replace

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from obstore.exceptions import GenericError as StorageError
from PIL import Image
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.contract import outputs
from app.contract.blobs import Blobs
from app.contract.checkpoints import STATE, work_key
from app.contract.job import Output, Stage, Status, input_key, output_key, output_prefix
from worker.encode import Encoding
from worker.failures import CODES
from worker.progress import LeaseLost
from worker.references import request_of
from worker.render import _complete, _record, _record_timings, render
from worker.segments import Segments


def claim(place, spec, **more):
    place.store.create(spec, **more)
    return place.store.claim(spec.model, "worker-1", 60)


def frames_of(data, tmp_path, width=64, height=96):
    path = tmp_path / "downloaded.mp4"
    path.write_bytes(data)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def encoded(frames, folder, fps=8):
    """An MP4 of these frames, as this worker would encode it."""
    _, height, width, _ = frames.shape
    encoding = Encoding(width=width, height=height, fps=fps, preset="ultrafast")
    with Segments(folder, encoding) as segments:
        segments.write(frames)
        segments.finish(folder / "clip.mp4")
    return folder / "clip.mp4"


@pytest.fixture
def slow(spec):
    """A job that takes long enough to be disturbed."""
    return replace(spec, width=256, height=256, frames=17, steps=150)


def disturbed(place, spec, disturb, stage=Stage.DENOISE):
    """Renders a job and calls `disturb(job)` once, from another thread, when it is in `stage`."""
    job = claim(place, spec)
    done = threading.Event()

    def wait():
        deadline = time.monotonic() + 60
        while place.store.get(job.id).stage is not stage and not done.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        disturb(job)

    thread = threading.Thread(target=wait)
    thread.start()
    render(job, place)
    done.set()
    thread.join()
    return place.store.get(job.id)


def test_a_job_becomes_a_stored_clip_with_a_thumbnail(place, spec, tmp_path):
    job = claim(place, spec)
    render(job, place)
    done = place.store.get(job.id)
    assert (done.status, done.progress, done.error_code) == (Status.COMPLETED, 1.0, None)
    assert output_key(job.id, 1, "video.mp4") == done.output_key
    data = place.blobs.get(done.output_key)
    stored = list(place.blobs.list(output_prefix(job.id)))
    assert {outputs.beside(done.output_key, name) for name in outputs.CONTENT_TYPES} | {
        done.output_key
    } == {blob.key for blob in stored}
    assert sum(blob.size_bytes for blob in stored) == done.output_bytes
    assert frames_of(data, tmp_path).shape == (9, 96, 64, 3)
    with Image.open(io.BytesIO(place.blobs.get(done.thumbnail_key))) as thumbnail:
        assert thumbnail.size == (64, 96)
    assert list(place.scratch.iterdir()) == []


def test_the_first_job_that_ends_in_some_way_is_an_increase():
    counter = "kinora_jobs_ended_total"
    for outcome in ("completed", "cancelled", "released", "lost", *CODES):
        assert REGISTRY.get_sample_value(counter, {"outcome": outcome}) is not None


def test_the_steps_of_an_edit_are_not_measured_shorter_than_they_are(place, spec):
    edit = replace(spec, steps=10, strength=0.5, video="clip")
    _record_timings(claim(place, edit), place, {Stage.DENOISE: 5.0})
    assert place.store.timings.estimate(edit) == pytest.approx(5)
    assert place.store.timings.estimate(replace(edit, strength=None)) == pytest.approx(10)


def test_slow_motion_becomes_a_clip(place, spec):
    job = claim(place, replace(spec, fps=120))
    render(job, place)
    assert place.store.get(job.id).status is Status.COMPLETED


def test_the_same_spec_gives_the_same_file(place, spec):
    files = []
    for seed in (1, 1, 2):
        job = claim(place, replace(spec, seed=seed))
        render(job, place)
        files.append(place.blobs.get(place.store.get(job.id).output_key))
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_still_is_stored_as_an_image(place, spec, kind):
    job = claim(place, replace(spec, frames=1, output=kind))
    render(job, place)
    with Image.open(io.BytesIO(place.blobs.get(place.store.get(job.id).output_key))) as still:
        assert (kind.upper(), (64, 96)) == (still.format, still.size)


def test_a_reference_image_reaches_the_model(place, spec):
    picture = io.BytesIO()
    Image.new("RGB", (64, 96), (10, 200, 30)).save(picture, "PNG")
    key = input_key("video_x", "image.png")
    place.blobs.put(key, picture.getvalue(), "image/png")
    request = request_of(replace(spec, image=key), place.blobs, place.scratch, lambda: None)
    assert request.image.getpixel((0, 0)) == (10, 200, 30)
    job = claim(place, replace(spec, image=key))
    render(job, place)
    assert Status.COMPLETED is place.store.get(job.id).status


def test_a_picture_that_cannot_be_read_is_not_asked_for_again(place, spec):
    key = input_key("video_x", "image.png")
    place.blobs.put(key, b"no picture", "image/png")
    job = claim(place, replace(spec, image=key))
    with capture_logs() as said:
        render(job, replace(place, worker=replace(place.worker, patience_s=2)))
    assert place.store.get(job.id).error_code == "invalid_image"
    assert not [line for line in said if line["event"] == "service.awaited"]


def test_a_reference_video_reaches_the_model(place, spec, tmp_path):
    spec = replace(spec, video=input_key("video_x", "video.mp4"), strength=0.5)
    clip = np.full((9, 48, 32, 3), (200, 30, 30), np.uint8)
    place.blobs.put(spec.video, encoded(clip, tmp_path), "video/mp4")
    request = request_of(spec, place.blobs, tmp_path, lambda: None)
    assert (9, 96, 64, 3) == tuple(request.video.shape)
    assert abs(request.video.float().mean((0, 1, 2)) - torch.tensor([200.0, 30, 30])).max() < 4
    job = claim(place, spec)
    render(job, place)
    assert place.store.get(job.id).status is Status.COMPLETED


@pytest.mark.parametrize("data", [b"ffconcat version 1.0\nfile other.mp4", b""])
def test_a_reference_that_is_no_video_fails_the_job_with_a_reason(place, spec, data):
    spec = replace(spec, video=input_key("video_x", "video.mp4"), strength=0.5)
    place.blobs.put(spec.video, data, "video/mp4")
    job = claim(place, spec)
    render(job, place)
    failed = place.store.get(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, "invalid_request")
    assert "video: has 0" in failed.error_message


def test_a_missing_reference_fails_the_job_with_a_reason(place, spec):
    job = claim(place, replace(spec, image="inputs/none/image.png"))
    render(job, place)
    failed = place.store.get(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, "input_missing")


def test_a_request_that_the_model_refuses_fails_with_its_words(place, spec):
    job = claim(place, replace(spec, frames=8))
    render(job, place)
    failed = place.store.get(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, "invalid_request")
    assert "frames" in failed.error_message


@pytest.mark.parametrize("stage", [Stage.DENOISE, Stage.DECODE])
def test_a_cancelled_job_stops_and_leaves_nothing(place, slow, stage):
    frames = 81 if stage is Stage.DECODE else 17
    steps = 2 if stage is Stage.DECODE else 150
    spec = replace(slow, frames=frames, steps=steps)
    ended = disturbed(place, spec, lambda job: place.store.cancel(job.id), stage)
    assert (ended.status, ended.error_code) == (Status.FAILED, "cancelled")
    assert list(place.blobs.list()) == []
    assert list(place.scratch.iterdir()) == []


def test_a_deleted_running_job_stops(place, slow):
    job = claim(place, slow)
    thread = threading.Thread(target=render, args=(job, place))
    thread.start()
    place.store.delete(job.id)
    thread.join()
    assert [job.id] == place.store.upkeep.deleted()


def test_a_stopping_worker_hands_its_job_back_and_sends_a_message(place, slow):
    stopping = threading.Event()
    place = replace(place, stopping=stopping.is_set)
    before = place.queue.depth(slow.model)
    released = disturbed(place, slow, lambda job: stopping.set())
    assert (released.status, released.attempt, released.losses) == (Status.QUEUED, 1, 0)
    assert before + 1 == place.queue.depth(slow.model)
    assert [work_key(released.id, 1, STATE)] == [blob.key for blob in place.blobs.list()]
    assert released.progress > 0


def test_a_worker_that_lost_its_lease_writes_nothing(place, slow):
    def take_over(job):
        place.store.upkeep.lose_of_worker("worker-1", 3)
        place.store.claim(slow.model, "worker-2", 60)

    now = disturbed(place, slow, take_over)
    assert (now.status, now.attempt, now.worker) == (Status.IN_PROGRESS, 2, "worker-2")
    assert list(place.blobs.list()) == []


def test_outputs_of_lost_attempts_are_removed_at_the_end(place, spec):
    job = claim(place, spec)
    place.blobs.put(output_key(job.id, 1, "video.mp4"), b"orphan", "video/mp4")
    place.store.upkeep.lose_of_worker("worker-1", 3)
    again = place.store.claim(spec.model, "worker-2", 60)
    render(again, place)
    assert {"2"} == {blob.key.split("/")[2] for blob in place.blobs.list(output_prefix(job.id))}


class FullStore(Blobs):
    """A blob folder on a disk that is full."""

    def put(self, key, data, content_type):
        raise OSError(28, "No space left on device", key)


def test_a_full_disk_is_tried_again_elsewhere_and_then_fails(place, spec):
    full = replace(place, blobs=FullStore(place.blobs._store))
    job = claim(place, spec)
    for attempt in (1, 2):
        render(job, full)
        assert Status.QUEUED is place.store.get(job.id).status
        job = place.store.claim(spec.model, f"worker-{attempt}", 60)
    render(job, full)
    failed = place.store.get(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, "worker_error")
    assert "/" not in failed.error_message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_scratch_disk_costs_an_attempt_and_not_the_job(place, spec):
    job = claim(place, spec)
    place.scratch.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", place.scratch], check=True)
    try:
        render(job, place)
        assert list(place.scratch.iterdir()) == []
    finally:
        subprocess.run(["umount", place.scratch], check=True)
    queued = place.store.get(job.id)
    assert (queued.status, queued.losses) == (Status.QUEUED, 1)
    render(place.store.claim(spec.model, "worker-2", 60), place)
    assert place.store.get(job.id).status is Status.COMPLETED


class Interrupted(Blobs):
    """A storage that does not take anything when it is asked for the first time."""

    def put(self, key, data, content_type):
        refused = self.__dict__.setdefault("refused", set())
        if key not in refused:
            refused.add(key)
            raise StorageError("503")
        return super().put(key, data, content_type)


def test_a_storage_that_is_away_for_a_while_is_waited_for(place, spec, monkeypatch):
    monkeypatch.setattr("worker.patience.FIRST_PAUSE_S", 0.01)
    job = claim(place, spec)
    patient = replace(place.worker, patience_s=60)
    render(job, replace(place, blobs=Interrupted(place.blobs._store), worker=patient))
    assert place.store.get(job.id).status is Status.COMPLETED
    assert sum(segment.frames for segment in place.store.checkpoints.get(job.id).segments) == 9


def test_a_completion_whose_answer_was_lost_is_one(place, spec):
    job = claim(place, spec)
    render(job, place)
    done = place.store.get(job.id)
    _complete(job, place, Output(key=done.output_key, size_bytes=1))
    _record(job, place, LeaseLost())
    assert place.blobs.get(done.output_key)


def test_a_zombie_removes_its_output_and_leaves_what_others_go_on_from(place, spec):
    zombie = claim(place, spec)
    for key in (output_key(zombie.id, 1, "video.mp4"), work_key(zombie.id, 1, STATE)):
        place.blobs.put(key, b"x", "video/mp4")
    place.store.checkpoints.save(zombie.id, 1, [], 0.5)
    place.store.upkeep.lose_of_worker("worker-1", 3)
    place.store.claim(spec.model, "worker-2", 60)
    _record(zombie, place, LeaseLost())
    assert [work_key(zombie.id, 1, STATE)] == [blob.key for blob in place.blobs.list()]


def test_a_size_that_no_clip_can_have_fails_with_a_reason(place, spec):
    job = claim(place, replace(spec, width=65))
    render(job, place)
    failed = place.store.get(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, "invalid_request")
    assert "65x96" in failed.error_message
