"""Server-sent events of a job, over a real connection."""

import base64
import json

import pytest

from app.contract.previews import Preview


def create(server, **fields):
    answer = server.client.post("/v1/videos", json={"prompt": "a red cube", **fields})
    return answer.json()["id"]


@pytest.fixture
def follow(server):
    """The events of a video, one (kind, id, data) after the other; a ping has the kind None."""

    def follow(video_id, **headers):
        url = f"/v1/videos/{video_id}/events"
        with server.client.stream("GET", url, headers=headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            event = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name:
                    event[name] = value
                elif "data" in event:
                    yield event["event"], event["id"], json.loads(event["data"])
                    event = {}

    return follow


def test_a_stream_tells_each_change_and_ends_with_the_job(server, follow, finish):
    video_id = create(server)
    stories = []
    for kind, _, video in follow(video_id):
        stories.append((kind, video["status"], video["progress"]))
        if video["status"] == "queued":
            assert (video["id"], video["queue_position"]) == (video_id, 0)
            job = server.parts.store.claim("tiny", "worker-1", 60)
            server.parts.store.beat(job.id, job.attempt, 60, "denoise", 0.5)
        elif video["progress"] == 50:
            server.parts.store.release(job.id, job.attempt)
            finish(server.parts, video_id)

    assert stories[0] == ("video", "queued", 0)
    assert ("video", "in_progress", 50) in stories
    assert stories[-1] == ("video", "completed", 100)


def test_pictures_of_the_work_are_sent_when_there_are_new_ones(server, follow):
    video_id = create(server)
    job = server.parts.store.claim("tiny", "worker-1", 60)
    server.parts.store.beat(job.id, job.attempt, 60, "denoise", 0.5)
    server.parts.previews.put(video_id, Preview(1, b"first"))
    seen = []
    for kind, _, told in follow(video_id):
        if kind == "preview":
            head, _, data = told["preview"].partition(",")
            assert head == "data:image/webp;base64"
            seen.append((base64.b64decode(data), told["progress"]))
            if len(seen) == 1:
                server.parts.previews.put(video_id, Preview(2, b"second"))
            else:
                server.parts.store.fail(job.id, job.attempt, "server_error", "It broke.")

    assert seen == [(b"first", 50), (b"second", 50)]
    assert (kind, told["status"], told["error"]["code"]) == ("video", "failed", "server_error")


def test_who_comes_back_is_told_only_what_is_new(server, follow):
    video_id = create(server)
    known = next(iter(follow(video_id)))[1]
    url, headers = f"/v1/videos/{video_id}/events", {"Last-Event-ID": known}
    with server.client.stream("GET", url, headers=headers) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        next(iter(follow(video_id)))  # so the job has been looked at for both
        server.client.post(f"/v1/videos/{video_id}/cancel")
        told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert [video["status"] for video in told] == ["failed"]


def test_the_end_is_told_again_to_who_comes_back(server, follow, finish):
    video_id = create(server)
    finish(server.parts, video_id)
    (first,) = follow(video_id)
    (again,) = follow(video_id, **{"Last-Event-ID": first[1]})
    assert first == again


def test_a_stream_ends_when_its_video_is_deleted(server, follow):
    video_id = create(server)
    kinds = []
    for kind, _, _ in follow(video_id):
        kinds.append(kind)
        server.client.delete(f"/v1/videos/{video_id}")
    assert kinds == ["video", "deleted"]


def test_streams_end_when_the_service_stops(server, follow):
    for _ in follow(create(server)):
        server.stop(15, None)


def test_somebody_elses_stream_is_a_404(server):
    keys = server.parts.store.keys
    mine, yours = ({"authorization": f"Bearer {keys.create(n)[1]}"} for n in ("me", "you"))
    video_id = server.client.post("/v1/videos", json={"prompt": "x"}, headers=mine).json()["id"]
    answer = server.client.get(f"/v1/videos/{video_id}/events", headers=yours)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_not_found")
