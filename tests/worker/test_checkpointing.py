"""Jobs that are taken over: nothing is done twice, and the clip is the same to the bit."""

import time
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from obstore.exceptions import GenericError as StorageError
from safetensors.torch import load, save_file

from app.contract.blobs import BlobDamaged
from app.contract.checkpoints import STATE, Segment, work_prefix
from app.contract.job import Shot, Status, input_key
from worker.encode import Encoding
from worker.leftovers import remove_leftovers
from worker.render import render
from worker.segments import Segments


@pytest.fixture
def spec(spec):
    """A clip of several segments: 2 seconds of 6 frames each."""
    return replace(spec, frames=29, fps=6, steps=4, width=64, height=64)


def claim(place, worker="worker"):
    return place.store.claim("random-ti2v", worker, 60)


def stopped_at(place, step):
    """A worker that is told to stop at its so-manieth look."""
    looks = count(1)
    return replace(place, stopping=lambda: next(looks) >= step)


def clip(place, job):
    done = place.store.get(job.id)
    assert (done.status, done.error_message) == (Status.COMPLETED, None)
    return place.blobs.get(done.output_key)


#: Files that nobody disturbed, by spec and preset: each is made once for all tests.
UNDISTURBED = {}


def whole(place, spec):
    """The file that nobody disturbed."""
    key = spec, place.worker.encode_preset
    if key not in UNDISTURBED:
        job = place.store.create(spec)[0]
        render(claim(place), place)
        UNDISTURBED[key] = clip(place, job)
    return UNDISTURBED[key]


@pytest.mark.parametrize("step", [1, 2, 5, 6, 8, 11, 13])
def test_a_job_stopped_at_any_step_gives_the_same_file(place, spec, step):
    expected = whole(place, spec)
    job = place.store.create(spec)[0]
    render(claim(place), stopped_at(place, step))
    released = place.store.get(job.id)
    assert (released.status, released.losses) == (Status.QUEUED, 0)
    again = claim(place)
    assert again.progress == released.progress
    render(again, place)
    assert expected == clip(place, job)
    assert place.store.get(job.id).attempt == 2


def test_a_job_handed_over_again_and_again_gets_done(place, spec):
    expected = whole(place, spec)
    job = place.store.create(spec)[0]
    for step in (2, 3, 9, 11):
        render(claim(place), stopped_at(place, step))
    render(claim(place), place)
    assert expected == clip(place, job)
    assert place.store.get(job.id).attempt == 5


def test_a_worker_that_vanishes_loses_what_came_after_its_last_checkpoint(place, spec):
    expected = whole(place, spec)
    job = place.store.create(spec)[0]
    often = replace(place, worker=replace(place.worker, checkpoint_s=0.0))
    looks = count(1)

    def vanishes():
        if next(looks) == 9:
            place.store.upkeep.lose_of_worker("worker", 3)
            raise SystemExit  # no exception that a job's end is recorded for
        return False

    with pytest.raises(SystemExit):
        render(claim(place), replace(often, stopping=vanishes))
    lost = place.store.get(job.id)
    assert (lost.status, lost.losses) == (Status.QUEUED, 1)
    assert lost.progress > 0.5
    render(claim(place), place)
    assert expected == clip(place, job)


def test_progress_makes_up_for_losses(place, spec):
    job = place.store.create(spec)[0]
    place.store.upkeep.lose_attempt(claim(place).id, 1, 3, "x", "x")
    render(claim(place), stopped_at(place, 5))
    assert place.store.get(job.id).losses == 0


def test_a_state_that_is_kept_again_makes_up_for_no_losses(place, spec):
    job = place.store.create(spec)[0]
    often = replace(place, worker=replace(place.worker, checkpoint_s=0.0))
    for attempt in (1, 2, 3):
        looks = count(1)

        def vanishes(looks=looks):
            if next(looks) == 2:  # the text is kept, the first step is not
                place.store.upkeep.lose_of_worker("worker", 3)
                raise SystemExit
            return False

        with pytest.raises(SystemExit):
            render(claim(place), replace(often, stopping=vanishes))
        assert place.store.checkpoints.get(job.id).state_attempt == attempt
    lost = place.store.get(job.id)
    assert (lost.status, lost.error_code, lost.losses) == (Status.FAILED, "worker_lost", 3)


def test_a_state_that_cannot_be_written_costs_no_attempt(place, spec):
    job = place.store.create(spec)[0]
    often = replace(place, worker=replace(place.worker, checkpoint_s=0.0))

    def in_the_way():
        (place.scratch / f"{job.id}-1" / STATE).mkdir(exist_ok=True)
        return False

    render(claim(place), replace(often, stopping=in_the_way))
    assert clip(place, job)
    assert place.store.checkpoints.get(job.id).state_attempt is None


def test_a_state_that_is_stored_damaged_costs_no_attempt(place, spec, monkeypatch):
    job, put = place.store.create(spec)[0], place.blobs.put

    def damaged(key, *what):
        if key.startswith(work_prefix(job.id)):
            raise BlobDamaged(key)
        return put(key, *what)

    monkeypatch.setattr(place.blobs, "put", damaged)
    render(claim(place), replace(place, worker=replace(place.worker, checkpoint_s=0.0)))
    assert clip(place, job)


@pytest.mark.parametrize("damage", ["state", "segment", "none of it is there"])
def test_a_damaged_checkpoint_is_not_gone_on_from(place, spec, damage):
    expected = whole(place, spec)
    job = place.store.create(spec)[0]
    render(claim(place), stopped_at(place, 13))
    for blob in list(place.blobs.list(work_prefix(job.id))):
        if damage == "state" and blob.key.endswith("safetensors"):
            place.blobs.put(blob.key, b"nonsense", "application/octet-stream")
        elif (damage == "segment") == blob.key.endswith("m4s"):
            place.blobs.delete(blob.key)
    render(claim(place), place)
    assert expected == clip(place, job)


def test_a_job_is_made_anew_where_the_encoder_is_set_differently(place, spec):
    job = place.store.create(spec)[0]
    render(claim(place), stopped_at(place, 13))
    other = replace(place, worker=replace(place.worker, encode_preset="slow"))
    render(claim(place), other)
    assert whole(other, spec) == clip(place, job)


def test_segments_of_other_settings_are_never_mixed(place, spec):
    job = place.store.create(spec)[0]
    render(claim(place), stopped_at(place, 13))
    other = replace(place, worker=replace(place.worker, encode_preset="slow"))
    looks = count(1)

    def vanishes():
        if next(looks) < 11:
            return False
        while place.store.checkpoints.get(job.id).segments[0].attempt != 2:
            time.sleep(0.01)
        place.store.upkeep.lose_of_worker("worker", 3)
        raise SystemExit

    with pytest.raises(SystemExit):  # when its first segment is kept, and no state
        render(claim(place), replace(other, stopping=vanishes))
    render(claim(place), other)
    assert whole(other, spec) == clip(place, job)


def test_a_stream_has_its_end_also_when_that_could_not_be_stored_at_first(place, spec, monkeypatch):
    job, put, failed = place.store.create(spec)[0], place.blobs.put, []

    def fails_once(key, *what):
        if key.endswith("00001.m4s") and not failed:
            failed.append(key)
            raise StorageError("away")
        return put(key, *what)

    monkeypatch.setattr(place.blobs, "put", fails_once)
    render(claim(place), place)
    assert clip(place, job)
    kept = place.store.checkpoints.get(job.id)
    assert [12, 12, 5] == [segment.frames for segment in kept.segments]


def test_a_running_job_can_be_watched(place, spec):
    job = place.store.create(spec)[0]
    render(claim(place), stopped_at(place, 13))
    half = place.store.checkpoints.get(job.id)
    assert [Segment(1, 12)] * 2 == list(half.segments)
    render(claim(place), place)
    kept = place.store.checkpoints.get(job.id)
    assert [12, 12, 5] == [segment.frames for segment in kept.segments]
    keys = [kept.init_key, *(kept.segment_key(index) for index in range(3))]
    assert sorted(keys) == sorted(blob.key for blob in place.blobs.list(work_prefix(job.id)))
    stream = b"".join(place.blobs.get(key) for key in keys)
    assert stream.startswith(b"\0\0\0\x1cftyp")
    assert stream.count(b"moof") == 3
    remove_leftovers(place.store, place.blobs, replace(place.settings, stream_keep_s=60))
    assert place.store.checkpoints.get(job.id) is not None
    remove_leftovers(place.store, place.blobs, replace(place.settings, stream_keep_s=0))
    assert place.store.checkpoints.get(job.id) is None
    assert list(place.blobs.list(work_prefix(job.id))) == []
    assert clip(place, job)


def test_nothing_is_kept_of_a_job_that_is_cancelled_after_a_checkpoint(place, spec):
    job = place.store.create(spec)[0]
    render(claim(place), stopped_at(place, 13))
    place.store.cancel(job.id)
    remove_leftovers(place.store, place.blobs, place.settings)
    assert list(place.blobs.list()) == []
    assert place.store.checkpoints.get(job.id) is None


@pytest.fixture
def source(place, spec, tmp_path):
    """A clip of 20 frames in storage, and its key."""
    encoding = Encoding(width=64, height=64, fps=6, preset="ultrafast")
    noise = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    frames = noise.repeat(16, 1).repeat(16, 2)
    (tmp_path / "source").mkdir()
    with Segments(tmp_path / "source", encoding) as segments:
        segments.write(frames)
        segments.finish(tmp_path / "source.mp4")
    key = input_key("video_x", "source.mp4")
    place.blobs.put(key, tmp_path / "source.mp4", "video/mp4")
    return key


def media(data):
    """What is encoded in an MP4, without its index."""
    return data[data.index(b"mdat") + 4 :]


@pytest.mark.parametrize("step", [1, 5, 9])
def test_an_extension_begins_with_its_sources_own_frames(place, spec, source, step):
    spec = replace(spec, frames=8, before=source, before_frames=20, stitch=True)
    expected = whole(place, spec)
    assert media(expected).startswith(media(place.blobs.get(source)))
    job = place.store.create(spec)[0]
    render(claim(place), stopped_at(place, step))
    render(claim(place), place)
    assert expected == clip(place, job)
    kept = place.store.checkpoints.get(job.id)
    assert [12, 8, 8] == [segment.frames for segment in kept.segments]


def test_a_clip_lengthened_at_its_beginning_ends_with_its_own_frames(place, spec, source):
    spec = replace(spec, frames=9, after=source, after_frames=20, stitch=True)
    assert media(whole(place, spec)).endswith(media(place.blobs.get(source)))


def test_a_source_of_another_size_is_encoded_again(place, spec, source):
    spec = replace(spec, frames=8, before=source, before_frames=20, stitch=True, width=96)
    assert whole(place, spec)
    kept = place.store.checkpoints.get(place.store.list().jobs[0].id)
    assert spec.clip_frames == 28 == sum(segment.frames for segment in kept.segments)


def test_a_clip_that_comes_before_and_after_is_in_the_result_once(place, spec, source):
    spec = replace(
        spec, frames=8, before=source, after=source, before_frames=20, after_frames=20, stitch=True
    )
    assert spec.clip_frames == 28
    assert media(whole(place, spec)).startswith(media(place.blobs.get(source)))


def test_a_source_that_is_shorter_than_said_fails_with_a_reason(place, spec, source):
    job = place.store.create(replace(spec, frames=8, before=source, before_frames=24))[0]
    render(claim(place), place)
    failed = place.store.get(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, "invalid_request")
    assert "before: has 20" in failed.error_message


def test_a_storyboard_is_made(place, spec):
    shots = (Shot(prompt="a red ball", frames=13), Shot(prompt="a blue square", frames=16))
    assert whole(place, replace(spec, shots=shots)) != whole(place, spec)


def test_a_state_of_another_version_costs_an_attempt_and_is_forgotten(place, spec, tmp_path):
    expected = whole(place, spec)
    job = place.store.create(spec)[0]
    render(claim(place), stopped_at(place, 5))
    key = place.store.checkpoints.get(job.id).state_key
    tensors = load(place.blobs.get(key))
    tensors.pop("model.base")
    save_file(tensors, tmp_path / "other", {"written": "0"})
    place.blobs.put(key, tmp_path / "other", "application/octet-stream")
    render(claim(place), place)
    assert (place.store.get(job.id).status, place.store.get(job.id).losses) == (Status.QUEUED, 1)
    render(claim(place), place)
    assert expected == clip(place, job)
