"""Webhooks: their management, and deliveries to a receiver on this machine."""

import http.server
import json
import queue
import threading

import openai
from trial import PATIENCE_S, refuses


def webhooks_create(it):
    made = endpoint(it)
    assert made.object == "webhook_endpoint" and made.signing_secret.startswith("whsec_")
    it.client.webhooks.delete(made.id)


def webhooks_retrieve(it):
    made = endpoint(it)
    found = it.client.webhooks.retrieve(made.id)
    assert (found.url, found.event_types) == (made.url, ["video.completed"])
    assert getattr(found, "signing_secret", None) is None
    it.client.webhooks.delete(made.id)


def webhooks_update(it):
    made = endpoint(it)
    assert it.client.webhooks.update(made.id, name="other").name == "other"
    it.client.webhooks.delete(made.id)


def webhooks_list(it):
    made = {endpoint(it).id for _ in range(2)}
    assert made <= {each.id for each in it.client.webhooks.list(limit=1)}
    for each in made:
        it.client.webhooks.delete(each)


def webhooks_delete(it):
    made = endpoint(it)
    assert it.client.webhooks.delete(made.id).deleted
    refuses(openai.NotFoundError, lambda: it.client.webhooks.retrieve(made.id))


def webhooks_rotate_secret(it):
    made = endpoint(it)
    assert it.client.webhooks.rotate_secret(made.id).signing_secret != made.signing_secret
    it.client.webhooks.delete(made.id)


def webhooks_test(it):
    with Receiver() as receiver:
        made = endpoint(it, receiver.url)
        done = it.client.webhooks.test(made.id, event_type="video.completed")
        assert (done.object, done.status_code) == ("webhook_endpoint.test", 200)
        body, headers = receiver.next()
        event = it.client.webhooks.unwrap(body, headers, secret=made.signing_secret)
        assert event.type == "video.completed"
        it.client.webhooks.delete(made.id)


def webhooks_event_types_list(it):
    known = json.dumps(it.client.webhooks.event_types.list().to_dict())
    assert "video.completed" in known and "video.failed" in known


def webhooks_unwrap(it):
    fields = {"name": "test", "event_types": ["video.completed", "video.failed"]}
    with Receiver() as receiver:
        made = it.client.post(
            "/webhook_endpoints", body=fields | {"url": receiver.url}, cast_to=object
        )
        video = it.finished(it.make())
        body, headers = receiver.next()
        while json.loads(body)["data"]["id"] != video.id:  # of a video that was made before
            body, headers = receiver.next()
        event = it.client.webhooks.unwrap(body, headers, secret=made["signing_secret"])
        assert (event.type, event.data.id) == ("video.completed", video.id)
        refuses(
            openai.InvalidWebhookSignatureError,
            lambda: it.client.webhooks.unwrap(body + b" ", headers, secret=made["signing_secret"]),
        )
        it.client.delete(f"/webhook_endpoints/{made['id']}", cast_to=object)


def endpoint(it, url="http://127.0.0.1:9/hook"):
    return it.client.webhooks.create(name="test", url=url, event_types=["video.completed"])


class Receiver(http.server.ThreadingHTTPServer):
    """A receiver of webhooks on this machine that says yes to each."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Recorded)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.received = queue.Queue()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def next(self):
        """The body and the headers of the next delivery."""
        return self.received.get(timeout=PATIENCE_S)


class Recorded(http.server.BaseHTTPRequestHandler):
    """One delivery."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.put((body, dict(self.headers)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Standard output is for outcomes."""


TRIED = {
    "webhooks.create": webhooks_create,
    "webhooks.retrieve": webhooks_retrieve,
    "webhooks.update": webhooks_update,
    "webhooks.list": webhooks_list,
    "webhooks.delete": webhooks_delete,
    "webhooks.rotate_secret": webhooks_rotate_secret,
    "webhooks.test": webhooks_test,
    "webhooks.event_types.list": webhooks_event_types_list,
    "webhooks.unwrap": webhooks_unwrap,
}
