"""A clip as HLS while it is being made."""

import pytest

from app.contract.checkpoints import INIT, Segment, segment_key, work_key


@pytest.fixture
def running(client):
    """A running job with two stored segments."""
    made = client.post("/v1/videos", json={"prompt": "a red cube", "seconds": "3"}).json()
    job = client.parts.store.claim("tiny", "worker-1", 60)
    assert job.id == made["id"]
    client.parts.blobs.put(work_key(job.id, 1, INIT), b"header", "video/mp4")
    segments = [Segment(1, 12), Segment(1, 4)]
    for index in range(len(segments)):
        client.parts.blobs.put(segment_key(job.id, 1, index), b"part%d" % index, "video/mp4")
    client.parts.store.checkpoints.record(job.id, job.attempt, segments)
    return job


def playlist(client, job):
    return client.get(f"/v1/videos/{job.id}/stream.m3u8")


def test_the_playlist_names_each_part_and_grows_until_the_end(client, running, finish):
    answer = playlist(client, running)
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert answer.text.splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="stream/init.mp4"',
        "#EXTINF:1.50000,",
        "stream/00000.m4s",
        "#EXTINF:0.50000,",
        "stream/00001.m4s",
    ]
    client.parts.store.release(running.id, running.attempt)
    finish(client.parts, running.id)
    assert playlist(client, running).text.splitlines()[-1] == "#EXT-X-ENDLIST"


def test_each_name_of_the_playlist_leads_to_its_part(client, running):
    url = f"/v1/videos/{running.id}/stream/"
    names = ("init.mp4", "00000.m4s", "00001.m4s")
    assert [client.get(url + name).content for name in names] == [b"header", b"part0", b"part1"]
    part = client.get(url + "00001.m4s", headers={"range": "bytes=1-2"})
    assert (part.status_code, part.content) == (206, b"ar")
    for name in ("00002.m4s", "x.m4s", "init.m4s", "..%2F..%2Finit.mp4", "state.safetensors"):
        assert client.get(url + name).status_code == 404


def test_a_part_that_another_attempt_made_is_found(client, running):
    client.parts.store.release(running.id, running.attempt)
    again = client.parts.store.claim("tiny", "worker-2", 60)
    client.parts.blobs.put(segment_key(again.id, 2, 1), b"newer", "video/mp4")
    client.parts.store.checkpoints.record(again.id, 2, [Segment(1, 12), Segment(2, 4)])
    assert client.get(f"/v1/videos/{again.id}/stream/00001.m4s").content == b"newer"


def test_there_is_nothing_to_watch_before_the_first_part_nor_after_the_end(client, finish):
    made = client.post("/v1/videos", json={"prompt": "a red cube"}).json()
    job = client.parts.store.get(made["id"])
    early = playlist(client, job)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "video_not_ready")
    assert early.headers["retry-after"] == "1"
    finish(client.parts, job.id)
    late = playlist(client, job)
    assert (late.status_code, late.json()["error"]["code"]) == (404, "stream_ended")


def test_a_failed_video_has_no_stream(client, running):
    client.parts.store.fail(running.id, running.attempt, "server_error", "It broke.")
    answer = playlist(client, running)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_failed")
