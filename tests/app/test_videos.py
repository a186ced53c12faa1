"""`/v1/videos`, from the client's side of the wire."""

import re
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError

from app import orders
from app.api.schemas import VideoCreate
from app.auth import Caller
from app.submission import Attempt, Sent


def create(client, **fields):
    answer = client.post("/v1/videos", json={"prompt": "a red cube", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_created_video_is_a_queued_job_with_every_value_resolved(client):
    answer = client.post("/v1/videos", json={"prompt": " a red cube ", "model": "sora-2"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["openai-poll-after-ms"].isdecimal()
    video = answer.json()
    seed = video.pop("seed")
    assert 0 <= seed < 2**31
    assert video.pop("id").startswith("video_")
    assert video.pop("created_at") > 1.7e9
    assert video == {
        "object": "video",
        "status": "queued",
        "progress": 0,
        "model": "sora-2",
        "prompt": "a red cube",
        "size": "64x64",
        "seconds": "0.625",
        "completed_at": None,
        "expires_at": None,
        "remixed_from_video_id": None,
        "error": None,
        "stage": "queued",
        "operation": "create",
        "started_at": None,
        "revised_prompt": None,
        "frames": 5,
        "fps": 8,
        "negative_prompt": "",
        "num_inference_steps": 4,
        "guidance_scale": 5.0,
        "guidance_scale_2": None,
        "flow_shift": 3.0,
        "strength": None,
        "style": None,
        "loop": False,
        "direction": None,
        "storyboard": None,
        "priority": 0,
        "metadata": {},
        "webhook_url": None,
        "siblings": [],
        "source_video_ids": [],
        "attempt": 0,
        "spritesheet": None,
        "queue_position": 0,
        "eta_seconds": None,
    }


def test_a_created_video_is_announced_to_the_workers_of_its_model(client):
    before = client.parts.queue.depth("tiny")
    create(client)
    assert client.parts.queue.depth("tiny") == before + 1


def test_each_encoding_of_the_same_request_gives_the_same_job(client):
    wanted = {
        "prompt": "a red cube",
        "size": "128x64",
        "seconds": "2",
        "seed": 7,
        "negative_prompt": "blur",
        "num_inference_steps": 3,
        "guidance_scale": 2.5,
        "flow_shift": 1.5,
        "fps": 12,
    }
    text = {name: str(value) for name, value in wanted.items()}
    answers = [
        client.post("/v1/videos", json=wanted),
        client.post("/v1/videos", json=text),
        client.post("/v1/videos", files={name: (None, value) for name, value in text.items()}),
    ]
    specs = [client.parts.store.get(answer.json()["id"]).spec for answer in answers]
    assert specs[0] == specs[1] == specs[2]
    assert (specs[0].frames, specs[0].fps, specs[0].seed) == (25, 12, 7)
    assert answers[0].json()["seconds"] == "2"
    assert create(client, seconds="2.0833333")["seconds"] == "2.0833333"


def test_a_video_is_found_again_and_others_are_not(client):
    made = create(client)
    answer = client.get(f"/v1/videos/{made['id']}")
    assert answer.json() == made
    assert answer.headers["openai-poll-after-ms"] == "1000"
    for path in ("/v1/videos/video_none", "/v1/videos/a%00b", "/v1/videos/%ff", "/v1/videos/a%2Fb"):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_lists_page_through_all_videos_in_both_directions(client):
    made = [create(client)["id"] for _ in range(5)]
    for order, expected in (("asc", made), ("desc", made[::-1])):
        seen, after = [], None
        while True:
            query = {"limit": 2, "order": order} | ({"after": after} if after else {})
            page = client.get("/v1/videos", params=query).json()
            ids = [video["id"] for video in page["data"]]
            assert (page["object"], page["first_id"], page["last_id"]) == ("list", ids[0], ids[-1])
            seen, after = seen + ids, page["last_id"]
            if not page["has_more"]:
                break
        assert seen == expected


def test_what_is_listed_may_be_deleted_meanwhile(client):
    """As `for video in sdk.videos.list(): sdk.videos.delete(video.id)` does."""
    made = [create(client)["id"] for _ in range(3)]
    page = client.get("/v1/videos", params={"limit": 2}).json()
    for video in page["data"]:
        client.delete(f"/v1/videos/{video['id']}")
    rest = client.get("/v1/videos", params={"limit": 2, "after": page["last_id"]}).json()
    assert [video["id"] for video in rest["data"]] == made[:1]


def test_an_empty_list_has_no_ids(client):
    page = client.get("/v1/videos").json()
    assert page == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=video_none", "after"),
        ("after=%00", "after"),
    ],
)
def test_a_bad_list_query_is_refused_by_name(client, query, param):
    answer = client.get(f"/v1/videos?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_deleted_video_is_gone(client):
    made = create(client)
    answer = client.delete(f"/v1/videos/{made['id']}", headers={"content-type": "application/json"})
    assert answer.json() == {"id": made["id"], "object": "video.deleted", "deleted": True}
    assert client.get(f"/v1/videos/{made['id']}").status_code == 404
    assert client.delete(f"/v1/videos/{made['id']}").status_code == 404
    assert client.get("/v1/videos").json()["data"] == []
    assert client.parts.store.claim("tiny", "worker-1", 60) is None


def test_a_cancelled_video_fails_in_band_and_cannot_be_cancelled_again(client):
    made = create(client)
    answer = client.post(f"/v1/videos/{made['id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"]["code"] == "cancelled"
    assert client.get(f"/v1/videos/{made['id']}").status_code == 200
    again = client.post(f"/v1/videos/{made['id']}/cancel")
    assert again.status_code == 409
    assert again.headers["x-should-retry"] == "false"


def test_progress_and_completion_are_shown(client, finish):
    made = create(client)
    job = client.parts.store.claim("tiny", "worker-1", 60)
    client.parts.store.beat(job.id, job.attempt, 60, "denoise", 0.4)
    video = client.get(f"/v1/videos/{made['id']}").json()
    assert (video["status"], video["stage"], video["progress"]) == ("in_progress", "denoise", 40)
    client.parts.store.release(job.id, job.attempt)
    finish(client.parts, made["id"])
    video = client.get(f"/v1/videos/{made['id']}").json()
    assert (video["status"], video["progress"], video["error"]) == ("completed", 100, None)
    assert video["completed_at"] >= video["started_at"] >= video["created_at"]


def test_a_queued_video_tells_its_place_and_when_to_look_again(client, finish):
    made = [create(client)["id"] for _ in range(3)]
    polls = [client.get(f"/v1/videos/{video_id}") for video_id in made]
    assert [poll.json()["queue_position"] for poll in polls] == [0, 1, 2]
    assert [poll.headers["openai-poll-after-ms"] for poll in polls] == ["1000", "2000", "3000"]
    finish(client.parts, made[0])
    done, second = (client.get(f"/v1/videos/{video_id}") for video_id in made[:2])
    assert (done.json()["queue_position"], done.headers["openai-poll-after-ms"]) == (None, "0")
    assert second.json()["queue_position"] == 0


def test_what_workers_measured_tells_the_end_and_when_to_look_again(client):
    first, second = (create(client)["id"] for _ in range(2))
    spec = client.parts.store.get(first).spec
    client.parts.store.timings.record(spec, {"step": 10.0})

    last = client.get(f"/v1/videos/{second}")
    job = client.parts.store.claim("tiny", "worker-1", 60)
    client.parts.store.beat(job.id, job.attempt, 60, "denoise", 0.75)

    assert last.json()["eta_seconds"] == 2 * 10 * spec.steps
    assert last.headers["openai-poll-after-ms"] == "8000"
    assert client.get(f"/v1/videos/{first}").json()["eta_seconds"] == 10 * spec.steps / 4


def test_a_list_is_narrowed_by_words_and_by_status(client, finish):
    red, blue = create(client), create(client, prompt="A Blue  cube 100%")
    finish(client.parts, red["id"])

    def found(**query):
        return [video["id"] for video in client.get("/v1/videos", params=query).json()["data"]]

    assert found(search="CUBE") == [blue["id"], red["id"]]
    assert found(search="cube blue") == [blue["id"]]
    assert found(search="100%") == [blue["id"]]
    assert found(search="c%be") == []
    assert found(status="queued,in_progress") == [blue["id"]]
    assert found(status="completed", search="red") == [red["id"]]


def test_a_repeated_idempotency_key_gives_the_first_job_back(client):
    key = {"idempotency-key": "Take-1"}
    body = {"prompt": "a red cube"}
    first = client.post("/v1/videos", json=body, headers=key).json()
    assert client.post("/v1/videos", json=body, headers=key).json() == first
    other = client.post("/v1/videos", json={"prompt": "a blue cube"}, headers=key)
    error = other.json()["error"]
    assert (other.status_code, error["param"]) == (409, "idempotency-key")
    assert error["message"] == "Idempotency key 'Take-1' was already used with another request."
    assert len(client.get("/v1/videos").json()["data"]) == 1


def test_an_idempotency_key_whose_video_was_deleted_makes_a_new_one(client):
    body, key = {"prompt": "a red cube"}, {"idempotency-key": "k1"}
    first = client.post("/v1/videos", json=body, headers=key).json()
    client.delete(f"/v1/videos/{first['id']}")
    second = client.post("/v1/videos", json=body, headers=key).json()
    assert second["id"] != first["id"]
    assert client.post("/v1/videos", json=body, headers=key).json()["id"] == second["id"]


def test_the_sdks_own_retry_gives_the_first_job_back_and_a_second_request_a_second_job(client):
    body = {"prompt": "a red cube"}
    first = client.post("/v1/videos", json=body, headers={"x-stainless-retry-count": "0"}).json()
    retry = client.post("/v1/videos", json=body, headers={"x-stainless-retry-count": "1"}).json()
    assert retry == first
    second = client.post("/v1/videos", json=body, headers={"x-stainless-retry-count": "0"}).json()
    assert second["id"] != first["id"]


def test_a_retry_that_overtakes_a_slow_create_makes_no_second_video(client):
    def sent(*, is_retry):
        attempt = Attempt(key=None, is_retry=is_retry)
        return Sent(caller=Caller("", None), attempt=attempt, fingerprint="the same")

    wanted = VideoCreate(prompt="a red cube")
    slow, second, third = sent(is_retry=False), sent(is_retry=True), sent(is_retry=True)
    made = [orders.create(client.parts, wanted, one).id for one in (second, third, slow)]
    assert len(set(made)) == 1
    assert orders.create(client.parts, wanted, sent(is_retry=False)).id not in made


def test_a_full_queue_is_a_429_with_a_time_to_come_back(settings, serve, client):
    create(client)
    with serve(replace(settings, max_queued=1)) as other:
        answer = other.post("/v1/videos", json={"prompt": "a red cube"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) > 0


def test_every_answer_carries_its_own_request_id(client):
    answers = [
        client.get(path) for path in ("/v1/videos", "/v1/nothing", "/healthz", "/v1/videos/x")
    ]
    answers += [client.put("/v1/videos"), client.post("/v1/videos", content=b"x")]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 404, 405, 400]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", request_id) for request_id in ids)


def test_a_job_whose_creation_was_not_confirmed_keeps_its_inputs(client, png, monkeypatch):
    store = client.parts.store
    create = store.create_all

    def unconfirmed(*given, **more):
        create(*given, **more)
        raise OperationalError("COMMIT", None, ConnectionError())

    monkeypatch.setattr(store, "create_all", unconfirmed)
    files = {"prompt": (None, "x"), "input_reference": ("upload", png)}
    assert client.post("/v1/videos", files=files).status_code == 503
    job = store.claim("tiny", "worker-1", 60)
    assert client.parts.blobs.get(job.spec.image)
