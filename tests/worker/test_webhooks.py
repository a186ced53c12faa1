"""The courier's deliveries, to real receivers."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from prometheus_client import REGISTRY

from app.contract.creation import Draft
from app.contract.job import Output
from app.contract.sending import Sender
from app.contract.settings import Settings
from app.contract.store import Store
from worker import webhooks


@pytest.fixture
def store(tmp_path, migrated):
    (tmp_path / "kinora.db").write_bytes(migrated)
    store = Store.open(f"sqlite:///{tmp_path / 'kinora.db'}")
    yield store
    store.close()


@pytest.fixture
def receiver():
    """A receiver; what it got is in `requests`, and it answers with the next of `statuses`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.requests.append((self.headers, body))
            self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.statuses = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def delivering(store, tmp_path):
    """The courier's thread."""
    stopped = threading.Event()
    settings = Settings(data=tmp_path, webhook_allow_private=True, webhook_timeout_s=30)
    thread = webhooks.start(store, settings, stopped)
    yield
    stopped.set()
    thread.join()


def finished(store, spec, **given):
    store.create(Draft(spec=spec, **given))
    job = store.claim(spec.model, "worker-1", 60)
    return store.complete(job.id, job.attempt, Output(key="k", size_bytes=1))


def wait(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def statuses(store):
    return sorted(row["status"] for row in store.webhooks.outbox.list("", limit=100)[0])


def test_an_event_reaches_its_endpoint_and_the_requests_own_url(store, spec, receiver, delivering):
    endpoint = store.webhooks.create("", "mine", receiver.url, ["video.completed"])
    job = finished(store, spec, webhook_url=receiver.url)
    wait(lambda: statuses(store) == ["delivered", "delivered"])
    client = openai.OpenAI(api_key="none")
    secrets = {endpoint.secret, store.webhooks.secret_of("")}
    for headers, body in receiver.requests:
        good = [secret for secret in secrets if verifies(client, headers, body, secret)]
        assert 1 == len(good)
        secrets -= set(good)
        event = client.webhooks.unwrap(body, headers, secret=good[0])
        assert ("video.completed", job.id) == (event.type, event.data.id)
    assert not secrets


def verifies(client, headers, body, secret):
    try:
        client.webhooks.verify_signature(body, headers, secret=secret)
    except openai.InvalidWebhookSignatureError:
        return False
    return True


def test_a_refused_event_is_sent_again_under_the_same_id(store, spec, receiver, delivering):
    receiver.statuses = [500, 302]
    store.webhooks.create("", "mine", receiver.url, ["video.completed"])
    finished(store, spec)
    for count in (1, 2):
        wait(lambda count=count: len(attempts(store)) == count)
        with store.database.write() as connection:
            connection.exec_driver_sql("UPDATE deliveries SET next_at = 0")
    wait(lambda: statuses(store) == ["delivered"])
    assert [500, 302, 200] == [attempt["status_code"] for attempt in attempts(store)]
    assert 1 == len({headers["webhook-id"] for headers, _ in receiver.requests})


def attempts(store):
    return store.webhooks.outbox.list("")[0][0]["attempts"]


def given_up():
    return REGISTRY.get_sample_value("kinora_webhook_attempts_total", {"outcome": "failed"})


def test_what_a_deleted_endpoint_refuses_is_not_counted_as_given_up(store, spec, receiver):
    endpoint = store.webhooks.create("", "mine", receiver.url, ["video.completed"])
    finished(store, spec)
    (delivery,) = store.webhooks.outbox.take(1, 1, 60)
    store.webhooks.delete(endpoint.id, "")
    receiver.statuses, before, slots = [500], given_up(), threading.BoundedSemaphore()
    slots.acquire()
    webhooks._make(store, Sender(30, allow_private=True), delivery, slots)
    assert (1, before) == (len(receiver.requests), given_up())


def test_a_receiver_that_hangs_holds_up_nobody(store, spec, receiver, delivering):
    with socket.create_server(("127.0.0.1", 0)) as hung:  # it connects, and nobody ever answers
        url = f"http://127.0.0.1:{hung.getsockname()[1]}/"
        store.webhooks.create("", "hung", url, ["video.completed"])
        for _ in range(5):
            finished(store, spec)
        with hung.accept()[0]:
            store.webhooks.create("", "quick", receiver.url, ["video.completed"])
            finished(store, spec)
            wait(lambda: statuses(store) == ["delivered", *["pending"] * 6])
    assert 1 == len(receiver.requests)


def test_a_machine_with_no_thread_to_spare_ends_no_deliveries(
    store, spec, receiver, delivering, monkeypatch
):
    start, failed = threading.Thread.start, []

    def start_later(thread):
        if not failed:
            failed.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(webhooks.Thread, "start", start_later)
    finished(store, spec, webhook_url=receiver.url)
    wait(lambda: failed)
    with store.database.write() as connection:  # until its lease has run out
        connection.exec_driver_sql("UPDATE deliveries SET lease_until = 1")
    wait(lambda: receiver.requests)
