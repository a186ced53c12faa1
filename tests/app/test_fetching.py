"""Fetching by URL must not be a way into the private network."""

import contextlib
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpcore
import pytest
import trustme

from app.fetching import Fetcher, FetchError

PUBLIC = ipaddress.ip_address("93.184.215.14")


class Site(httpcore.SyncBackend):
    """Somebody else's web servers, which all are this one on this machine: it answers by path, and
    remembers what it was asked, and under which addresses.
    """

    def __init__(self, authority, **answers):
        super().__init__()
        self.asked, self.dialled, self.unreachable = [], [], ()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                site.asked.append((self.headers["host"], self.path))
                status, headers, body = answers[urlsplit(self.path).path.strip("/")]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    for part in body:
                        self.wfile.write(part)
                self.close_connection = True

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("a.example", "b.example").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def connect_tcp(self, host, port, *others):
        self.dialled.append((host, port))
        if host in self.unreachable:
            raise httpcore.ConnectError(host)
        return super().connect_tcp("127.0.0.1", self._server.server_port, *others)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def ok(*parts):
    """A file in parts, with its length left open."""
    return 200, {}, parts


def to(location, status=302):
    return status, {"location": location, "content-length": "0"}, ()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def open_site(authority):
    with contextlib.ExitStack() as stack:

        def open_site(**answers):
            return stack.enter_context(contextlib.closing(Site(authority, **answers)))

        yield open_site


@pytest.fixture
def fetcher(authority):
    def fetcher(site, hosts, **changes):
        limits = {"limit_bytes": 1000, "timeout_s": 5.0}
        tls = ssl.create_default_context()
        authority.configure_trust(tls)

        def resolve(host, port):
            return [ipaddress.ip_address(address) for address in hosts.get(host, ())]

        return Fetcher(**(limits | changes), resolve=resolve, sockets=site, tls=tls)

    return fetcher


def test_a_file_is_fetched_from_the_address_that_was_checked_under_the_name_that_was_asked(
    fetcher, open_site
):
    site = open_site(image=ok(b"da", b"ta"))
    got = fetcher(site, {"a.example": [str(PUBLIC)]}).fetch("https://a.example:8443/image?x=1")
    assert got == b"data"
    assert site.dialled == [(str(PUBLIC), 8443)]
    assert site.asked == [("a.example:8443", "/image?x=1")]


def test_an_address_that_cannot_be_reached_is_no_end_while_there_is_another(fetcher, open_site):
    site = open_site(image=ok(b"data"))
    hosts = {"a.example": [str(PUBLIC), "1.1.1.1"]}
    site.unreachable = (str(PUBLIC),)
    assert fetcher(site, hosts).fetch("https://a.example/image") == b"data"
    assert [host for host, _ in site.dialled] == hosts["a.example"]
    site.unreachable = tuple(hosts["a.example"])
    with pytest.raises(FetchError, match="ConnectError"):
        fetcher(site, hosts).fetch("https://a.example/image")


def test_a_server_must_show_the_certificate_of_the_name_that_was_asked(fetcher, open_site):
    site = open_site(image=ok(b"data"))
    with pytest.raises(FetchError, match="ConnectError"):
        fetcher(site, {"c.example": [str(PUBLIC)]}).fetch("https://c.example/image")
    assert site.dialled and site.asked == []


@pytest.mark.parametrize("addresses", [[], ["10.0.0.1"], [str(PUBLIC), "10.0.0.1"], ["::1"]])
def test_a_host_with_any_private_address_is_never_connected_to(fetcher, open_site, addresses):
    site = open_site()
    with pytest.raises(FetchError, match="not on the public internet"):
        fetcher(site, {"a.example": addresses}).fetch("https://a.example/image")
    assert site.dialled == []


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/x",
        "ftp://a.example/x",
        "file:///etc/passwd",
        "//a.example/x",
        "x",
        "",
        "https://",
        "https://u:p@a.example/x",
        "https://a.example:99999/",
        "https://[::1/",
        "\0",
    ],
)
def test_only_plain_https_urls_are_taken(fetcher, open_site, url):
    site = open_site()
    with pytest.raises(FetchError):
        fetcher(site, {"a.example": [str(PUBLIC)]}).fetch(url)
    assert site.dialled == []


def test_a_redirect_is_followed_to_a_public_host(fetcher, open_site):
    site = open_site(
        first=to("https://b.example/second"), second=to("/third", 301), third=ok(b"da", b"ta")
    )
    hosts = {"a.example": [str(PUBLIC)], "b.example": ["1.1.1.1"]}
    assert fetcher(site, hosts).fetch("https://a.example/first") == b"data"
    assert [host for host, _ in site.asked] == ["a.example", "b.example", "b.example"]
    assert [host for host, _ in site.dialled] == [str(PUBLIC), "1.1.1.1", "1.1.1.1"]


@pytest.mark.parametrize(
    "location",
    ["https://inner.example/x", "https://127.0.0.1/x", "http://b.example/x", "file:///etc/passwd"],
)
def test_a_redirect_into_the_private_network_is_refused(fetcher, open_site, location):
    site = open_site(first=to(location))
    hosts = {
        "a.example": [str(PUBLIC)],
        "b.example": [str(PUBLIC)],
        "inner.example": ["10.0.0.1"],
        "127.0.0.1": ["127.0.0.1"],
    }
    with pytest.raises(FetchError):
        fetcher(site, hosts).fetch("https://a.example/first")
    assert len(site.asked) == 1


def test_redirects_end(fetcher, open_site):
    site = open_site(loop=to("/loop"))
    with pytest.raises(FetchError, match="redirects more than"):
        fetcher(site, {"a.example": [str(PUBLIC)]}).fetch("https://a.example/loop")


def test_a_file_that_is_too_large_is_refused_while_it_arrives(fetcher, open_site):
    site = open_site(image=(200, {}, itertools.repeat(bytes(500))))
    with pytest.raises(FetchError, match="larger than 1000 bytes"):
        fetcher(site, {"a.example": [str(PUBLIC)]}).fetch("https://a.example/image")


def test_a_file_that_drips_is_refused_after_the_deadline(fetcher, open_site):
    def dripping():
        while True:
            time.sleep(0.01)
            yield b"x"

    site = open_site(image=(200, {}, dripping()))
    slow = fetcher(site, {"a.example": [str(PUBLIC)]}, timeout_s=0.5, limit_bytes=10**9)
    with pytest.raises(FetchError, match="did not arrive within"):
        slow.fetch("https://a.example/image")


@pytest.mark.parametrize("status", [204, 404, 500])
def test_an_answer_without_the_file_is_refused(fetcher, open_site, status):
    site = open_site(image=(status, {"content-length": "0"}, ()))
    with pytest.raises(FetchError, match=f"status {status}"):
        fetcher(site, {"a.example": [str(PUBLIC)]}).fetch("https://a.example/image")


def test_the_real_resolver_refuses_this_machines_own_names():
    fetch = Fetcher(limit_bytes=1000, timeout_s=1.0).fetch
    for host in ("localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::]"):
        with pytest.raises(FetchError):
            fetch(f"https://{host}/x")


def test_a_server_that_says_nothing_is_given_up_at_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        fetcher = Fetcher(limit_bytes=1000, timeout_s=0.2, allow_private=True)
        with pytest.raises(FetchError, match=r"did not arrive within 0\.2 s"):
            fetcher.fetch(f"https://127.0.0.1:{port}/image")
