"""Who may call: anybody on this machine while there is no key, then only who has one."""

import pytest

from app.auth import ExposedError, check_exposure, is_loopback


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "headers", [{}, bearer("anything"), bearer(""), {"authorization": "Basic x"}]
)
def test_with_no_key_this_machine_may_call_with_any_token_or_none(client, headers):
    assert client.get("/v1/videos", headers=headers).status_code == 200


def test_with_no_key_another_machine_may_not_call(settings, serve):
    with serve(settings, host="203.0.113.9") as client:
        answer = client.get("/v1/videos")
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "attacker.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_with_no_key_a_web_page_of_another_site_may_not_call(client, headers):
    for answer in (
        client.get("/v1/videos", headers=headers),
        client.post("/v1/videos", files={"prompt": (None, "x")}, headers=headers),
    ):
        assert answer.status_code == 403
    assert client.parts.store.list().jobs == []


def test_with_a_key_only_its_secret_opens(client):
    key, secret = client.parts.store.keys.create("me")
    assert client.get("/v1/videos", headers=bearer(secret)).status_code == 200
    for headers in ({}, bearer("wrong"), bearer(secret + "x"), {"authorization": secret}):
        for answer in (
            client.get("/v1/videos", headers=headers),
            client.post("/v1/videos", json={"prompt": "x"}, headers=headers),
            client.get("/v1/videos/video_x/content", headers=headers),
            client.get("/v1/models", headers=headers),
        ):
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
    client.parts.store.keys.revoke(key.id)
    assert client.get("/v1/videos").status_code == 200


def test_a_key_is_asked_for_before_a_body_is_read(client):
    client.parts.store.keys.create("me")
    assert client.post("/v1/videos", content=b"not even json").status_code == 401


def test_owners_never_see_each_others_videos(client):
    mine, yours = (bearer(client.parts.store.keys.create(name)[1]) for name in ("me", "you"))
    made = client.post("/v1/videos", json={"prompt": "x"}, headers=mine).json()
    path = f"/v1/videos/{made['id']}"
    assert client.get(path, headers=mine).status_code == 200
    for method, url in (
        ("GET", path),
        ("GET", f"{path}/content"),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
        ("GET", f"/v1/videos?after={made['id']}"),
    ):
        assert client.request(method, url, headers=yours).status_code in (400, 404)
    assert client.get("/v1/videos", headers=yours).json()["data"] == []
    assert len(client.get("/v1/videos", headers=mine).json()["data"]) == 1


def test_an_idempotency_key_belongs_to_its_owner(client):
    mine, yours = (bearer(client.parts.store.keys.create(name)[1]) for name in ("me", "you"))
    key = {"idempotency-key": "same"}
    first = client.post("/v1/videos", json={"prompt": "x"}, headers=mine | key).json()
    second = client.post("/v1/videos", json={"prompt": "x"}, headers=yours | key).json()
    assert first["id"] != second["id"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.2", False),
        ("kinora", False),
    ],
)
def test_loopback_is_told_from_the_network(host, expected):
    assert is_loopback(host) is expected


def test_the_service_does_not_listen_to_the_network_without_a_key(client):
    keys = client.parts.store.keys
    check_exposure("127.0.0.1", keys)
    with pytest.raises(ExposedError, match="kinora keys create"):
        check_exposure("0.0.0.0", keys)
    keys.create("me")
    check_exposure("0.0.0.0", keys)
