"""Fetching by URL must not be a way into the private network."""

import ipaddress
import socket

import httpx
import pytest

from app.fetching import Fetcher, FetchError, is_public

PUBLIC = ipaddress.ip_address("93.184.215.14")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::127.0.0.1",
        "fec0::1",
        "2001:db8::1",
    ],
)
def test_a_private_address_is_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::101:101"]
)
def test_an_address_of_the_internet_is_public(address):
    assert is_public(ipaddress.ip_address(address))


class Site:
    """Somebody else's web server: answers by path, and remembers what it was asked."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def __call__(self, request):
        self.asked.append(request)
        return self.answers[request.url.path.strip("/")]


def fetcher(site, hosts, **changes):
    limits = {"limit_bytes": 1000, "timeout_s": 5.0}

    def resolve(host, port):
        return [ipaddress.ip_address(address) for address in hosts.get(host, ())]

    return Fetcher(**(limits | changes), resolve=resolve, transport=httpx.MockTransport(site))


def test_a_file_is_fetched_from_the_address_that_was_checked_under_the_name_that_was_asked():
    site = Site(image=httpx.Response(200, content=iter([b"da", b"ta"])))
    got = fetcher(site, {"a.example": [str(PUBLIC)]}).fetch("https://a.example:8443/image?x=1")
    assert got == b"data"
    (request,) = site.asked
    assert request.url == f"https://{PUBLIC}:8443/image?x=1"
    assert request.headers["host"] == "a.example:8443"
    assert request.extensions["sni_hostname"] == "a.example"


@pytest.mark.parametrize("addresses", [[], ["10.0.0.1"], [str(PUBLIC), "10.0.0.1"], ["::1"]])
def test_a_host_with_any_private_address_is_never_connected_to(addresses):
    site = Site()
    with pytest.raises(FetchError, match="not on the public internet"):
        fetcher(site, {"a.example": addresses}).fetch("https://a.example/image")
    assert site.asked == []


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
def test_only_plain_https_urls_are_taken(url):
    site = Site()
    with pytest.raises(FetchError):
        fetcher(site, {"a.example": [str(PUBLIC)]}).fetch(url)
    assert site.asked == []


def test_a_redirect_is_followed_to_a_public_host():
    site = Site(
        first=httpx.Response(302, headers={"location": "https://b.example/second"}),
        second=httpx.Response(301, headers={"location": "/third"}),
        third=httpx.Response(200, content=iter([b"da", b"ta"])),
    )
    hosts = {"a.example": [str(PUBLIC)], "b.example": ["1.1.1.1"]}
    assert fetcher(site, hosts).fetch("https://a.example/first") == b"data"
    assert [request.headers["host"] for request in site.asked] == [
        "a.example",
        "b.example",
        "b.example",
    ]


@pytest.mark.parametrize(
    "location",
    ["https://inner.example/x", "https://127.0.0.1/x", "http://b.example/x", "file:///etc/passwd"],
)
def test_a_redirect_into_the_private_network_is_refused(location):
    site = Site(first=httpx.Response(302, headers={"location": location}))
    hosts = {
        "a.example": [str(PUBLIC)],
        "b.example": [str(PUBLIC)],
        "inner.example": ["10.0.0.1"],
        "127.0.0.1": ["127.0.0.1"],
    }
    with pytest.raises(FetchError):
        fetcher(site, hosts).fetch("https://a.example/first")
    assert len(site.asked) == 1


def test_redirects_end():
    site = Site(loop=httpx.Response(302, headers={"location": "/loop"}))
    with pytest.raises(FetchError, match="redirects more than"):
        fetcher(site, {"a.example": [str(PUBLIC)]}).fetch("https://a.example/loop")


def test_a_file_that_is_too_large_is_refused_while_it_arrives():
    def endless():
        while True:
            yield bytes(500)

    site = Site(image=httpx.Response(200, content=endless()))
    with pytest.raises(FetchError, match="larger than 1000 bytes"):
        fetcher(site, {"a.example": [str(PUBLIC)]}).fetch("https://a.example/image")


def test_a_file_that_drips_is_refused_after_the_deadline():
    def dripping():
        while True:
            yield b"x"

    site = Site(image=httpx.Response(200, content=dripping()))
    slow = fetcher(site, {"a.example": [str(PUBLIC)]}, timeout_s=0.05, limit_bytes=10**9)
    with pytest.raises(FetchError, match="did not arrive within"):
        slow.fetch("https://a.example/image")


@pytest.mark.parametrize("status", [204, 404, 500])
def test_an_answer_without_the_file_is_refused(status):
    site = Site(image=httpx.Response(status))
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
