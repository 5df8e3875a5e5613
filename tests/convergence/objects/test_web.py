"""Server-side request forgery, tried on a real server (A-20): only named hosts, only public addresses."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import FetchRefused
from convergence.objects.web import MOST_REDIRECTS, Web, is_public
from tests.convergence.objects.web_servers import BODY, Server, certificate, web_server

NOT_NAMED = "is not among the hosts"
NOT_PUBLIC = "an address that may not be connected to"
FORM = "not of the form"
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with web_server() as running:
        yield running


def to_loopback(host: str, port: int) -> list[str]:
    return [LOOPBACK]


def web(server: Server, **changed: Any) -> Web:
    """May reach the server as images.test, and nothing else: loopback counts as public, nothing else does."""
    hosts = {f"images.test:{server.port}"} | changed.pop("hosts", set())
    asked = {"most": 1000, "within": 30.0, "resolve": to_loopback, "is_allowed_address": LOOPBACK.__eq__, **changed}
    return Web(frozenset(hosts), **asked)


def url(server: Server, path: str) -> str:
    return f"http://images.test:{server.port}/{path}"


def reason(web: Web, address: str) -> str:
    with pytest.raises(FetchRefused) as refused:
        web.get(address)
    return refused.value.reason


@pytest.mark.parametrize("path", ["whole", "chunked", "until_closed", "whole#part", "to/%2Fwhole", "to/..%2Fwhole"])
def test_a_body_is_fetched_from_a_named_host(server: Server, path: str) -> None:
    assert web(server).get(url(server, path)) == BODY
    assert server.seen[-1][1] == f"images.test:{server.port}"


@pytest.mark.parametrize("address", [
    "http://other.test/", "http://images.test/", "http://images.test.:{port}/", "http://images.test:22/",
    "https://images.test/", "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://2130706433:{port}/",
    "http://0x7f000001:{port}/", "http://0177.0.0.1:{port}/", "http://127.1:{port}/", "http://0:{port}/",
    "http://images.test.evil.test:{port}/",
])  # fmt: skip
def test_a_host_or_port_that_was_not_named_is_refused(server: Server, address: str) -> None:
    assert NOT_NAMED in reason(web(server), address.format(port=server.port))


@pytest.mark.parametrize("address", [
    "http://images.test:{port}@evil.test/", "http://user:secret@images.test:{port}/", "http://images.test:{port}\\@e/",
    "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]/", "http://images.test:{port}/a b", "http://images.test:{port}/\n",
    "http://images.test:{port}\t/", "http:/images.test:{port}/", "http:images.test", "http://", "http:///x",
    "http://ｉmages.test/", "http://images%2etest/", "http://images.test:port/", "http://images.test:/", "file:///x",
    "http://images.test:{port}/x HTTP/1.1\r\nHost: e",
])  # fmt: skip
def test_an_address_that_two_readers_could_read_differently_is_refused(server: Server, address: str) -> None:
    assert FORM in reason(web(server), address.format(port=server.port))


@pytest.mark.parametrize(
    "where", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "017700000001", "127.1", "0", "0x7f.1", "10.0.0.1"]
)
def test_a_named_host_with_an_address_inside_is_refused_however_it_is_spelt(server: Server, where: str) -> None:
    named = Web(frozenset({f"{where}:{server.port}"}), most=1000, within=30.0)  # with the system's own resolver
    before = len(server.seen)
    assert NOT_PUBLIC in reason(named, f"http://{where}:{server.port}/whole")
    assert len(server.seen) == before


def test_one_address_inside_among_public_ones_is_enough_to_refuse(server: Server) -> None:
    mixed = web(server, resolve=lambda host, port: [LOOPBACK, "169.254.169.254"])
    assert NOT_PUBLIC in reason(mixed, url(server, "whole"))


def test_a_name_that_resolves_differently_a_moment_later_changes_nothing(server: Server) -> None:
    answers = iter([[LOOPBACK], ["169.254.169.254"]])
    assert web(server, resolve=lambda host, port: next(answers)).get(url(server, "whole")) == BODY
    assert next(answers)  # it was asked once


@pytest.mark.parametrize(("where", "why"), [
    ("http://169.254.169.254/latest/meta-data", NOT_NAMED), ("http://localhost:{port}/whole", NOT_NAMED),
    ("//127.0.0.1:{port}/whole", NOT_NAMED), ("http://inside.test/x", NOT_PUBLIC), ("file:///etc/passwd", FORM),
    ("ftp://images.test/x", FORM), ("gopher://images.test/x", FORM), ("data:text/plain,x", FORM),
    ("http://u@images.test:{port}/whole", FORM), ("http://[", "does not answer as it should"),
])  # fmt: skip
def test_every_redirect_is_checked_like_the_first_address(server: Server, where: str, why: str) -> None:
    inside = {"images.test": LOOPBACK, "inside.test": "10.0.0.7"}
    asked = web(server, hosts={"inside.test"}, resolve=lambda host, port: [inside[host]])
    location = where.format(port=server.port).replace("%", "%25").replace(":", "%3A").replace("/", "%2F")
    assert why in reason(asked, url(server, f"to/{location}"))


def test_redirects_in_a_circle_end(server: Server) -> None:
    before = len(server.seen)
    assert reason(web(server), url(server, "around")) == f"more than {MOST_REDIRECTS} redirects"
    assert len(server.seen) - before == MOST_REDIRECTS + 1


@pytest.mark.parametrize(("path", "why"), [
    ("endless", "more than 1000 bytes"), ("claims/1001", "more than 1000 bytes"),
    ("claims/22", "does not answer as it should"), ("nonsense", "does not answer as it should"),
    ("status/404", "answers 404"), ("status/302", "answers 302"), ("status/204", "answers 204"),
])  # fmt: skip
def test_what_is_no_whole_answer_of_a_fair_size_is_refused(server: Server, path: str, why: str) -> None:
    assert why in reason(web(server), url(server, path))


def test_a_body_of_exactly_the_most_is_accepted(server: Server) -> None:
    assert web(server, most=len(BODY)).get(url(server, "whole")) == BODY
    assert "more than" in reason(web(server, most=len(BODY) - 1), url(server, "chunked"))


@pytest.mark.parametrize("path", ["drips", "drips_headers"])
def test_a_server_that_drips_is_left_when_the_time_is_up(server: Server, path: str) -> None:
    began = time.monotonic()
    assert reason(web(server, within=0.5), url(server, path)) == "took longer than 0.5 s"
    assert time.monotonic() - began < 5


def test_a_name_server_that_does_not_answer_is_left_too(server: Server) -> None:
    slow = web(server, within=0.2, resolve=lambda host, port: time.sleep(1) or [LOOPBACK])
    assert reason(slow, url(server, "whole")) == "took longer than 0.2 s"


def test_a_host_that_refuses_the_connection_is_a_reason(server: Server) -> None:
    assert "does not answer" in reason(web(server, hosts={"images.test:1"}), "http://images.test:1/")


def test_a_proxy_of_the_environment_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert web(server).get(url(server, "whole")) == BODY


def test_a_certificate_must_hold_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    chain, key = certificate("images.test", tmp_path)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(chain, key)
    with web_server(theirs) as server:
        known = ssl.create_default_context(cafile=str(chain))
        asked = web(server, hosts={f"other.test:{server.port}"}, tls=known)
        assert asked.get(f"https://images.test:{server.port}/whole") == BODY
        assert "certificate" in reason(asked, f"https://other.test:{server.port}/whole")
        assert "certificate" in reason(web(server), f"https://images.test:{server.port}/whole")
        plain = f"to/http%3A%2F%2Fimages.test%3A{server.port}%2Fwhole"
        assert "nothing is encrypted" in reason(asked, f"https://images.test:{server.port}/{plain}")


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "fe80::1",
    "fc00::1", "fec0::1", "ff02::1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "fd00:ec2::254",
])  # fmt: skip
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"])
def test_addresses_outside_are_public(address: str) -> None:
    assert is_public(address)
