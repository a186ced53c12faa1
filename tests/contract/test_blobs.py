import time

import httpx
import pytest

from app.contract import blobs as module
from app.contract.blobs import BlobNotFound, Blobs
from app.contract.settings import Settings, SettingsError


@pytest.fixture(params=["folder", "s3"])
def blobs(request, tmp_path):
    """Both kinds of storage that the program is shipped for."""
    where = request.getfixturevalue("s3") if request.param == "s3" else {}
    blobs = Blobs.open(Settings(data=tmp_path / "a folder", **where))
    yield blobs
    for blob in blobs.list():
        blobs.delete(blob.key)


def test_bytes_and_files_come_back_as_they_went_in(blobs, tmp_path):
    file = tmp_path / "clip.mp4"
    file.write_bytes(bytes(range(256)) * 5000)
    assert blobs.put("videos/a/1/small", b"abc", "text/plain").size_bytes == 3
    assert file.stat().st_size == blobs.put("videos/a/1/clip", file, "video/mp4").size_bytes
    assert blobs.get("videos/a/1/small") == b"abc"
    assert file.read_bytes() == b"".join(blobs.stream("videos/a/1/clip"))


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, None, b"0123456789"), (4, None, b"456789"), (2, 5, b"234")]
)
def test_a_part_can_be_read(blobs, start, end, expected):
    blobs.put("videos/a/1/v", b"0123456789", "video/mp4")
    assert expected == b"".join(blobs.stream("videos/a/1/v", start, end))


def test_an_empty_blob_can_be_read(blobs):
    blobs.put("videos/a/1/v", b"", "video/mp4")
    assert b"".join(blobs.stream("videos/a/1/v")) == b""


def test_a_slow_reader_gets_the_whole_blob(tmp_path, s3, monkeypatch):
    monkeypatch.setattr(module, "SILENCE_S", 3.0)  # longer than a busy server is silent
    blobs = Blobs.open(Settings(data=tmp_path, **s3))
    data = bytes(range(256)) * 2**17  # more than the sockets hold on the way
    blobs.put("videos/a/1/v", data, "video/mp4")
    chunks = blobs.stream("videos/a/1/v")
    read = [next(chunks)]
    time.sleep(4.5)
    assert data == b"".join([*read, *chunks])
    blobs.delete("videos/a/1/v")


def test_what_is_missing_is_said_at_once(blobs):
    for read in (blobs.get, blobs.info, blobs.stream):
        with pytest.raises(BlobNotFound, match="videos/none"):
            read("videos/none")
    blobs.delete("videos/none")


def test_a_folder_is_removed_without_its_neighbours(blobs):
    for key in ("videos/a/1/v", "videos/a/2/v", "videos/ab/1/v"):
        blobs.put(key, b"x", "video/mp4")
    blobs.delete_prefix("videos/a/")
    assert [blob.key for blob in blobs.list()] == ["videos/ab/1/v"]
    with pytest.raises(ValueError, match="prefix"):
        blobs.delete_prefix("/")


def test_a_key_cannot_leave_the_folder(blobs, tmp_path):
    with pytest.raises(Exception, match=r"\.\."):
        blobs.put("../outside", b"x", "text/plain")
    assert not (tmp_path / "outside").exists()


def test_the_etag_changes_with_the_content(blobs):
    first = blobs.put("videos/a/1/v", b"x", "video/mp4").etag
    assert first and first == blobs.info("videos/a/1/v").etag
    assert first != blobs.put("videos/a/1/v", b"yy", "video/mp4").etag


def test_the_check_leaves_nothing_behind(blobs):
    blobs.check()
    assert list(blobs.list()) == []


@pytest.mark.parametrize("url", ["ftp://x", "s3://", "/folder"])
def test_an_address_that_is_no_storage_is_refused(tmp_path, url):
    with pytest.raises(SettingsError, match="KINORA_STORAGE_URL"):
        Blobs.open(Settings(data=tmp_path, storage_url=url))


def test_a_signed_url_gives_the_blob_to_anybody_where_the_store_has_one(blobs, request):
    blobs.put("videos/a/1/v", b"0123456789", "video/mp4")
    url = blobs.signed_url("videos/a/1/v", 60)
    if "folder" in request.node.callspec.id:
        assert url is None
        return
    answer = httpx.get(url, headers={"range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert httpx.get(url.partition("?")[0]).status_code == 403
