"""What a key may do and how much, over HTTP."""

import pytest

from app.contract.job import Output
from app.contract.keys import KeyLimits

PROMPT = {"json": {"prompt": "a red ball"}}


@pytest.fixture
def caller(client):
    """Headers of a new key."""

    def caller(name="me", **given):
        secret = client.parts.store.keys.create(name, **given)[1]
        return {"authorization": f"Bearer {secret}"}

    return caller


def test_keys_of_one_tenant_share_videos_and_others_see_none(client, caller):
    one, two = (caller(name, tenant="team") for name in "ab")
    other = caller("c")
    video = client.post("/v1/videos", headers=one, **PROMPT).json()["id"]
    for path in ("", "/content", "/events", "/stream.m3u8"):
        assert client.get(f"/v1/videos/{video}{path}", headers=other).status_code == 404
    assert [] == client.get("/v1/videos", headers=other).json()["data"]
    for call in ("cancel", "remix"):
        answer = client.post(f"/v1/videos/{video}/{call}", headers=other, **PROMPT)
        assert answer.status_code == 404
    assert client.delete(f"/v1/videos/{video}", headers=other).status_code == 404
    assert [video] == [v["id"] for v in client.get("/v1/videos", headers=two).json()["data"]]
    assert client.delete(f"/v1/videos/{video}", headers=two).status_code == 200


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ((), {"read", "make", "files", "models", "hooks"}),
        (("videos:read",), {"read"}),
        (("videos", "models"), {"read", "make", "models"}),
        (("files:read", "webhooks"), {"files", "hooks"}),
    ],
)
def test_a_key_opens_what_it_is_for(client, caller, scopes, allowed):
    headers = caller(scopes=scopes)
    calls = {
        "read": client.get("/v1/videos", headers=headers),
        "make": client.post("/v1/videos", headers=headers, **PROMPT),
        "files": client.get("/v1/files", headers=headers),
        "models": client.get("/v1/models", headers=headers),
        "hooks": client.get("/v1/webhook_deliveries", headers=headers),
    }
    assert allowed == {name for name, answer in calls.items() if answer.status_code == 200}
    refused = [answer for answer in calls.values() if answer.status_code != 200]
    assert all(answer.json()["error"]["code"] == "insufficient_scope" for answer in refused)
    assert all(answer.status_code == 403 for answer in refused)


def test_a_key_for_looking_only_does_not_see_what_signs_deliveries(client, caller):
    headers = caller(scopes=("webhooks:read",))
    assert client.get("/v1/webhook_endpoints", headers=headers).status_code == 200
    assert client.get("/v1/webhook_secret", headers=headers).status_code == 403


def test_too_many_requests_a_minute_are_told_when_to_come_again(client, caller):
    headers = caller(limits=KeyLimits(rpm=2))
    for _ in range(2):
        assert client.get("/v1/models", headers=headers).status_code == 200
    refused = client.get("/v1/models", headers=headers)
    assert (429, "rate_limit_exceeded") == (refused.status_code, refused.json()["error"]["code"])
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert "x-should-retry" not in refused.headers


@pytest.mark.parametrize(
    ("limits", "code", "waiting_helps"),
    [
        ({"jobs": 1}, "too_many_jobs", True),
        ({"queued": 1}, "too_many_queued", True),
        ({"seconds_day": 1.0}, "daily_seconds_reached", False),
    ],
)
def test_a_limit_is_a_429_that_says_whether_waiting_helps(
    client, caller, limits, code, waiting_helps
):
    headers = caller(limits=KeyLimits(**limits))
    first = client.post("/v1/videos", headers=headers, **PROMPT)
    assert first.status_code == 200
    refused = client.post("/v1/videos", headers=headers, **PROMPT)
    error = refused.json()["error"]
    assert (429, code, "rate_limit_error") == (refused.status_code, error["code"], error["type"])
    assert ("x-should-retry" not in refused.headers) == waiting_helps
    assert int(refused.headers["retry-after"]) > 0
    assert 1 == len(client.parts.store.list().jobs)
    assert 0 == len(list(client.parts.blobs.list("inputs")))


def test_a_request_that_is_sent_again_needs_no_room(client, caller):
    headers = caller(limits=KeyLimits(jobs=1)) | {"idempotency-key": "k1"}
    first = client.post("/v1/videos", headers=headers, **PROMPT)
    again = client.post("/v1/videos", headers=headers, **PROMPT)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


def test_a_full_storage_is_not_worth_a_retry(client, caller):
    headers = caller(limits=KeyLimits(storage_bytes=10))
    assert client.post("/v1/videos", headers=headers, **PROMPT).status_code == 200
    job = client.parts.store.claim("tiny", "worker-1", 60)
    client.parts.store.complete(job.id, 1, Output(key="k", size_bytes=10))
    refused = client.post("/v1/videos", headers=headers, **PROMPT)
    assert (429, "storage_full") == (refused.status_code, refused.json()["error"]["code"])
    assert "false" == refused.headers["x-should-retry"]


def test_one_tenants_queue_does_not_starve_another(client, caller):
    many, one = caller("many"), caller("one")
    for _ in range(5):
        client.post("/v1/videos", headers=many, **PROMPT)
    late = client.post("/v1/videos", headers=one, **PROMPT).json()
    assert 1 == late["queue_position"]
    order = [client.parts.store.claim("tiny", "worker-1", 60).id for _ in range(2)]
    assert late["id"] == order[1]
