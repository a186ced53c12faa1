"""Objects without a row, in a real folder."""

import os
import subprocess
import sys

import pytest

from app.contract.blobs import Blobs
from app.contract.checkpoints import Segment, segment_key, work_key
from app.contract.files import file_key
from app.contract.job import Output, input_key, output_key
from app.contract.settings import Settings
from app.contract.store import Store
from worker.orphans import remove_orphans

STORE = """
import sys
from pathlib import Path
from app.contract.blobs import Blobs
from app.contract.settings import Settings
data, key, clip = sys.argv[1:]
Blobs.open(Settings(data=Path(data))).put(key, Path(clip), "video/mp4")
"""


@pytest.fixture
def settings(tmp_path, migrated):
    (tmp_path / "kinora.db").write_bytes(migrated)
    return Settings(data=tmp_path)


@pytest.fixture
def store(settings):
    store = Store.open(settings.database_url)
    yield store
    store.close()


def test_what_no_row_names_is_removed_when_it_is_old(settings, store, spec):
    blobs, job = Blobs.open(settings), store.create(spec)[0]
    with store.database.write() as connection:  # a file's time may lag a little behind
        connection.exec_driver_sql("UPDATE jobs SET created_at = created_at - 60")
    file = store.files.create(
        file_id="file-1", owner="", key=None, purpose="vision", filename="x", size_bytes=1
    )
    kept = {output_key(job.id, 1, "v"), input_key(job.id, "i"), work_key(job.id, 1, "s")}
    kept |= {file_key(file.id), "somebody/elses"}
    lost = {output_key("video_0", 1, "v"), input_key("video_0", "i"), work_key("video_0", 1, "s")}
    lost |= {file_key("file-0"), "health/0"}
    for key in kept | lost:
        blobs.put(key, b"x", "image/png")
    cancelled = store.create(spec)[0]
    store.cancel(cancelled.id)
    blobs.put(input_key(cancelled.id, "i"), b"x", "image/png")
    blobs.put(work_key(cancelled.id, 1, "s"), b"x", "video/mp4")
    lost |= {input_key(cancelled.id, "i"), work_key(cancelled.id, 1, "s")}
    assert 0 == remove_orphans(store, blobs, older_than_s=60)
    assert len(lost) == remove_orphans(store, blobs, older_than_s=-60)
    assert kept == {blob.key for blob in blobs.list()}


def test_what_a_killed_process_stored_a_part_of_is_removed_when_it_is_old(settings, store, spec):
    blobs = Blobs.open(settings)
    clip = settings.data / "clip.mp4"
    with clip.open("wb") as file:
        file.truncate(2**30)
    key = output_key(store.create(spec)[0].id, 1, "video.mp4")
    storing = subprocess.Popen([sys.executable, "-c", STORE, str(settings.data), key, str(clip)])
    folder = (settings.data / "blobs" / key).parent
    while not (parts := list(folder.glob("*"))):
        assert storing.poll() is None
    storing.kill()
    storing.wait()
    assert [f"{key}#1"] == [f"{key.rpartition('/')[0]}/{part.name}" for part in parts]
    assert 0 == remove_orphans(store, blobs, older_than_s=60)
    os.utime(parts[0], (1, 1))
    assert 1 == remove_orphans(store, blobs, older_than_s=60)
    assert not parts[0].exists()


def test_a_new_database_takes_nothing_from_a_storage_that_was_there_before(settings, store, spec):
    blobs = Blobs.open(settings)
    for key in (output_key("video_0", 1, "v"), file_key("file-0")):
        blobs.put(key, b"x", "video/mp4")
        os.utime(settings.data / "blobs" / key, (1, 1))
    assert 0 == remove_orphans(store, blobs, older_than_s=60)
    store.keys.create("me")
    store.create(spec)
    assert 0 == remove_orphans(store, blobs, older_than_s=60)
    assert 2 == len(list(blobs.list()))


def test_the_segments_of_a_completed_job_are_no_orphans(settings, store, spec):
    blobs, job = Blobs.open(settings), store.create(spec)[0]
    store.claim(spec.model, "worker-1", 60)
    store.checkpoints.record(job.id, 1, [Segment(1, 9)])
    store.complete(job.id, 1, Output(key=output_key(job.id, 1, "v"), size_bytes=1))
    blobs.put(segment_key(job.id, 1, 0), b"x", "video/mp4")
    assert 0 == remove_orphans(store, blobs, older_than_s=-60)
