"""What operators, scrapers and readers of the documentation get."""

import asyncio
import re
import socket
from contextlib import ExitStack
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from app.main import listen


@pytest.fixture
def client(lasting_client):
    return lasting_client


def test_health_and_readiness_are_told_apart(client, settings, serve, tmp_path):
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, set(ready.json().values())) == (200, {"ok"})
    lonely = replace(settings, redis_url=f"unix://{tmp_path}/none.sock")
    with serve(lonely) as other:
        answer = other.get("/readyz")
        assert other.get("/healthz").status_code == 200
    assert answer.status_code == 503
    report = answer.json()
    assert (report["database"], report["storage"]) == ("ok", "ok")
    assert report["redis"] != "ok"
    assert report["worker"] == "NoWorker: no worker is alive"


def test_a_video_can_be_asked_for_while_redis_is_down(settings, serve, capabilities, tmp_path):
    with serve(replace(settings, redis_url=f"unix://{tmp_path}/none.sock")) as client:
        client.parts.store.models.register("worker-1", capabilities)
        answer = client.post("/v1/videos", json={"prompt": "x"})
        assert (answer.status_code, answer.json()["status"]) == (200, "queued")


def test_a_database_that_is_gone_is_a_503_in_the_usual_shape(settings, serve, tmp_path):
    with serve(settings) as client:
        client.parts.store.close()
        for file in tmp_path.glob("kinora.db*"):
            file.unlink()
        (tmp_path / "kinora.db").mkdir()
        with capture_logs() as said:
            answer = client.get("/v1/videos")
            assert client.get("/readyz").status_code == 503
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
        told = [(line["path"], line["status"]) for line in said if line["event"] == "http.answered"]
        assert told == [("/v1/videos", 503)]  # the other is asked for every moment


def test_a_database_whose_connections_all_wait_is_a_503(client, monkeypatch):
    pool = client.parts.store.database.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.1)
    with ExitStack() as held:
        for _ in range(pool.size() + pool._max_overflow):
            held.enter_context(client.parts.store.database.read())
        answer = client.get("/v1/videos")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


def test_models_are_those_of_the_workers(client):
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("tiny", "model", "kinora")
    assert (model["modes"], model["max_seconds"]) == (["text", "image"], 10.125)
    assert (model["strength"], model["flow_shift"]) == (0.8, 3.0)
    for name in ("tiny", "sora-2", "sora-2-pro", "sora-2-2025-12-08"):
        assert client.get(f"/v1/models/{name}").json() == model
    assert client.get("/v1/models/").json()["data"] == [model]
    for name in ("org/none", "org%2Fnone", "wan-99"):
        answer = client.get(f"/v1/models/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_metrics_count_jobs_and_workers(client):
    text = client.get("/metrics").text
    assert 'kinora_workers{model="tiny"} 1.0' in text
    assert 'kinora_jobs{model="tiny",status="queued"} 0.0' in text


def test_the_openapi_document_tells_every_field_and_no_422(client):
    document = client.get("/openapi.json").json()
    create = document["paths"]["/v1/videos"]["post"]
    for media_type in ("application/json", "multipart/form-data"):
        fields = create["requestBody"]["content"][media_type]["schema"]["properties"]
        assert {"prompt", "input_reference", "seconds", "size", "seed"} <= set(fields)
    for path in document["paths"].values():
        for operation in path.values():
            assert "422" not in operation["responses"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_page_of_the_api_loads_nothing_from_elsewhere(client):
    page = client.get("/docs")
    assert page.status_code == 200 and client.get("/redoc").status_code == 404
    loaded = re.findall(r'(?:src|href|url)(?:=|: )"?\'?([^"\'\s>]+)', page.text)
    assert len(loaded) >= 2
    for address in loaded:
        assert address.startswith("/") and client.get(address).status_code == 200, address


def test_every_reference_in_the_openapi_document_leads_somewhere(client):
    answer = client.get("/openapi.json")
    schemas = answer.json()["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', answer.text)) <= set(schemas)
    assert "#/$defs" not in answer.text


def test_the_studio_is_served_with_a_strict_policy(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    files = re.findall(r'(?:href|src)="(/studio/[^"]+)"', page.text)
    assert len(files) >= 3
    for file in files:
        answer = client.get(file)
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")
    assert "<style" not in page.text
    assert "style=" not in page.text
    assert re.search(r"<script(?! type=\"module\" src=)", page.text) is None


@pytest.mark.parametrize("path", ["/studio/none.js", "/studio/..%2Fmain.py", "/studio/%00"])
def test_the_studio_serves_nothing_else(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1", 404),
        ("POST", "/v1/nothing", 404),
        ("PUT", "/v1/videos", 405),
        ("GET", "/v1/videos/x/cancel", 405),
        ("PATCH", "/v1/videos/x", 405),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_what_does_not_exist_is_told_in_the_usual_shape(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert "detail" not in answer.json()


def test_a_bug_of_ours_is_a_500_in_the_usual_shape(settings, serve):
    with serve(settings, raises=False) as client:

        @client.app.get("/bug")
        def bug():
            raise ZeroDivisionError

        answer = client.get("/bug")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]


def test_an_answers_second_write_does_not_wait_for_the_clients_acknowledgement():
    async def accepted() -> int:
        told = asyncio.get_running_loop().create_future()

        async def serve(_, writer):
            connection = writer.get_extra_info("socket")
            told.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        bound = listen("127.0.0.1", 0)
        async with await asyncio.start_server(serve, sock=bound):
            _, writer = await asyncio.open_connection(*bound.getsockname())
            delayed = await asyncio.wait_for(told, 10)
            writer.close()
            return delayed

    assert asyncio.run(accepted()) == 1
