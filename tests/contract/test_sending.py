"""Sending to real receivers on this machine, good ones and bad ones."""

import ipaddress
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai
import pytest

from app.contract.sending import Refused, Sender, checked
from app.contract.webhooks import new_secret

BODY = '{"id": "evt_1", "object": "event", "type": "video.completed", "data": {"id": "video_1"}}'


@pytest.fixture
def receiver():
    """A receiver that answers with `status`; what it got is in `requests`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.requests.append((self.path, self.headers, body))
            self.send_response(self.server.status)
            self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.status = [], 200
    server.url = f"http://127.0.0.1:{server.server_port}/hook?a=b"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def sender():
    return Sender(timeout_s=10, allow_private=True)


def listening(conversation):
    """A receiver that does with its first connection what `conversation` says."""
    bound = socket.create_server(("127.0.0.1", 0))

    def serve():
        with bound.accept()[0] as connection:
            conversation(connection)

    threading.Thread(target=serve, daemon=True).start()
    return bound, f"http://127.0.0.1:{bound.getsockname()[1]}/"


def test_the_official_client_takes_a_delivery_for_genuine(receiver, sender):
    secret = new_secret()
    answer = sender.send(receiver.url, (secret,), "evt_1", BODY)
    assert (200, True) == (answer.status_code, answer.accepted)
    ((path, headers, body),) = receiver.requests
    assert "/hook?a=b" == path and BODY.encode() == body
    assert headers["host"] == f"127.0.0.1:{receiver.server_port}"
    client = openai.OpenAI(api_key="none", webhook_secret=secret)
    assert "video_1" == client.webhooks.unwrap(body, headers).data.id
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body, headers, secret=new_secret())
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body.replace(b"video_1", b"video_2"), headers)


def test_during_a_rotation_both_secrets_sign(receiver, sender):
    secrets = (new_secret(), new_secret())
    sender.send(receiver.url, secrets, "evt_1", BODY)
    ((_, headers, body),) = receiver.requests
    for secret in secrets:
        openai.OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=secret)


@pytest.mark.parametrize("status", [301, 307, 404, 500])
def test_a_redirect_is_not_followed_and_anything_but_2xx_is_no_acceptance(receiver, sender, status):
    receiver.status = status
    answer = sender.send(receiver.url, (new_secret(),), "evt_1", BODY)
    assert (status, False, 1) == (answer.status_code, answer.accepted, len(receiver.requests))


def test_a_receiver_that_never_answers_is_given_up_at_the_deadline():
    hung = threading.Event()
    bound, url = listening(lambda connection: hung.wait(30))
    with bound:
        answer = Sender(0.5, True).send(url, (new_secret(),), "evt_1", BODY)
    hung.set()
    assert answer.status_code is None and "Timeout" in answer.error


def test_a_receiver_that_drips_bytes_is_given_up_at_the_deadline():
    def drip(connection):
        try:
            for _ in range(200):
                connection.sendall(b"H")
                time.sleep(0.05)
        except OSError:
            return

    bound, url = listening(drip)
    with bound:
        answer = Sender(0.5, True).send(url, (new_secret(),), "evt_1", BODY)
    assert answer.status_code is None and answer.seconds < 9


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200"])
def test_a_receiver_that_speaks_no_http_is_a_failure_with_a_reason(sender, said):
    bound, url = listening(lambda connection: connection.sendall(said))
    with bound:
        answer = sender.send(url, (new_secret(),), "evt_1", BODY)
    assert answer.status_code is None and answer.error


def test_a_receiver_that_is_not_there_is_a_failure_with_a_reason(sender):
    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
    bound.close()
    assert "ConnectError" in sender.send(url, (new_secret(),), "evt_1", BODY).error


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fc00::1"])
def test_a_name_that_leads_into_a_private_network_is_not_sent_to(address):
    found = [ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address(address)]
    sender = Sender(5, resolve=lambda host, port: found)
    answer = sender.send("https://hooks.example/", (new_secret(),), "evt_1", BODY)
    assert answer.status_code is None and "not on the public internet" in answer.error


def test_a_receivers_certificate_must_be_valid(sender):
    bound, url = listening(lambda connection: connection.sendall(b"no TLS here"))
    with bound:
        url = url.replace("http:", "https:")
        assert sender.send(url, (new_secret(),), "evt_1", BODY).error


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a.example/",
        "ftp://a.example/",
        "https://",
        "https://u:p@a.example/",
        "https://a:0",
    ],
)
def test_a_url_that_nothing_can_be_sent_to_is_refused(url):
    with pytest.raises(Refused, match="the URL"):
        checked(url, allow_private=False)


def test_a_body_is_json_of_the_event():
    from app.contract.outbox import body_of

    assert json.loads(BODY) | {"created_at": 7} == json.loads(
        body_of("evt_1", "video.completed", "video_1", 7.9)
    )
