"""Webhook endpoints, through the official client."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai
import pytest

from app.contract.job import Output


@pytest.fixture
def settings(tmp_path, settings_in):
    return settings_in(tmp_path, webhook_allow_private=True, webhook_timeout_s=5)


@pytest.fixture
def sdk(server):
    with openai.OpenAI(base_url=f"{server.client.base_url}/v1", api_key="none") as client:
        yield client


def created(sdk, url="https://a.example/hook", kinds=("video.completed",), name="mine"):
    return sdk.webhooks.create(name=name, url=url, event_types=list(kinds))


def test_an_endpoint_is_made_found_changed_listed_and_deleted(sdk):
    made = created(sdk)
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint.endswith(made.signing_secret[-4:])
    found = sdk.webhooks.retrieve(made.id)
    assert (made.id, "mine", ["video.completed"]) == (found.id, found.name, found.event_types)
    assert not hasattr(found, "signing_secret")
    changed = sdk.webhooks.update(made.id, event_types=["video.failed"], name="ours")
    assert ("ours", ["video.failed"], made.url) == (changed.name, changed.event_types, changed.url)
    others = [created(sdk).id for _ in range(2)]
    assert [*others[::-1], made.id] == [one.id for one in sdk.webhooks.list(limit=1)]
    assert sdk.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.webhooks.retrieve(made.id)


def test_a_rotated_secret_is_another_one(sdk, server):
    made = created(sdk)
    again = sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert made.signing_secret != again.signing_secret
    assert again.signing_secret != sdk.webhooks.rotate_secret(made.id).signing_secret
    secret = server.client.get("/v1/webhook_secret").json()["signing_secret"]
    rotated = server.client.post("/v1/webhook_secret/rotate").json()["signing_secret"]
    assert secret != rotated == server.client.get("/v1/webhook_secret").json()["signing_secret"]


def test_the_events_there_are_can_be_listed(sdk):
    kinds = list(sdk.webhooks.event_types.list().data)
    assert {"video.completed", "video.failed", "batch.expired"} < set(kinds)
    assert set(kinds) == set(created(sdk, kinds=kinds).event_types)


def test_a_test_says_how_the_receiver_answers(sdk):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.headers, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(503)
            self.end_headers()

        def log_message(self, *args):
            pass

    got = []
    with HTTPServer(("127.0.0.1", 0), Handler) as receiver:
        thread = threading.Thread(target=receiver.handle_request)
        thread.start()
        made = created(sdk, f"http://127.0.0.1:{receiver.server_port}/")
        tested = sdk.webhooks.test(made.id, event_type="video.failed")
        thread.join()
    assert (503, "video.failed") == (tested.status_code, tested.event_type)
    ((headers, body),) = got
    event = sdk.webhooks.unwrap(body, headers, secret=made.signing_secret)
    assert "video.failed" == event.type
    with pytest.raises(openai.BadRequestError) as refused:  # nobody listens any more
        sdk.webhooks.test(made.id, event_type="video.failed")
    assert "webhook_unreachable" == refused.value.code


def test_a_bad_endpoint_names_what_is_wrong(sdk):
    good = {"name": "mine", "url": "https://a.example/", "event_types": ["video.completed"]}
    for change, param in (
        ({"url": "ftp://a.example/"}, "url"),
        ({"url": "https://u:p@a.example/"}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["response.completed"]}, "event_types.0"),
        ({"name": ""}, "name"),
        ({"extra_body": {"colour": "red"}}, "colour"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.webhooks.create(**good | change)
        assert param == refused.value.param


@pytest.mark.parametrize(
    "url", ["http://a.example/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/"]
)
def test_a_private_address_is_refused_unless_it_is_allowed(settings_in, serve, tmp_path, url):
    body = {"name": "mine", "url": url, "event_types": ["video.completed"]}
    with serve(settings_in(tmp_path)) as client:
        refused = client.post("/v1/webhook_endpoints", json=body)
        assert (400, "invalid_url") == (refused.status_code, refused.json()["error"]["code"])
    with serve(settings_in(tmp_path, webhook_allow_private=True)) as client:
        assert 200 == client.post("/v1/webhook_endpoints", json=body).status_code


def test_owners_do_not_see_each_others_endpoints_and_deliveries(sdk, server):
    secrets = [server.parts.store.keys.create(name)[1] for name in "ab"]
    one, other = (sdk.with_options(api_key=secret) for secret in secrets)
    made = created(one)
    assert [] == other.webhooks.list().data
    for look in (other.webhooks.retrieve, other.webhooks.delete, other.webhooks.rotate_secret):
        with pytest.raises(openai.NotFoundError):
            look(made.id)


def test_a_delivery_can_be_looked_at(sdk, server):
    made = created(sdk)
    store = server.parts.store
    video = server.client.post("/v1/videos", json={"prompt": "a ball"}).json()
    job = store.claim("tiny", "worker-1", 60)
    store.complete(job.id, 1, Output(key="k", size_bytes=1))
    (due,) = store.webhooks.outbox.take(1, 1, 60)
    page = server.client.get("/v1/webhook_deliveries", params={"subject": video["id"]}).json()
    (row,) = page["data"]
    assert (due.event_id, made.id, "pending", "video.completed") == (
        row["event_id"],
        row["webhook_endpoint_id"],
        row["status"],
        row["event_type"],
    )
    nothing = server.client.get("/v1/webhook_deliveries", params={"subject": "video_x"}).json()
    assert [] == nothing["data"]
