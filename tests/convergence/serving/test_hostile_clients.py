"""Clients that send too much, too slowly, nonsense, or nothing: each is answered in one form, and holds nothing."""

import json
import logging
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from convergence.cli.serve import composed
from convergence.lake.tables import Lake
from convergence.serving.access import Access, Token, _digest
from convergence.serving.app import MAX_BYTES
from convergence.serving.bodies import Bodies
from convergence.serving.heads import Bounded
from convergence_assets.fraud.use_case import SERVED
from tests.convergence.serving.service import ask, running
from tests.convergence.serving.test_service import GET, SCORE, VIEW, one

SOON = 0.5  # seconds that this server waits for a head or a body
READER, SCORER = "reader-token-0001", "scorer-token-0001"
CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
FORM = f"Content-Type: application/json\r\nAuthorization: Bearer {SCORER}\r\n"


class Impatient(Bounded):
    connections_most, head_within, linger = 12, SOON, SOON


@pytest.fixture(scope="module")
def bodies() -> Bodies:
    return Bodies(MAX_BYTES, within=SOON, together=2_500_000)


@pytest.fixture(scope="module")
def port(world: tuple[Lake, Path], bodies: Bodies) -> Iterator[int]:
    """A server without a store: what is asked here is never answered with a score, or on defaults."""
    tokens = Token("r", "reader", _digest(READER)), Token("s", "scorer", _digest(SCORER))
    access = Access(tokens, rate=1e6, burst=10**6)
    app = composed(SERVED, world[0], access, home=world[1], redis="unix:///nowhere/redis.sock", bodies=bodies)
    with running(app, http=Impatient) as port:
        yield port


def opened(port: int) -> "closing[socket.socket]":
    return closing(socket.create_connection(("127.0.0.1", port), timeout=20))


def head(length: str = "Transfer-Encoding: chunked", path: str = SCORE, form: str = FORM) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{form}{length}\r\n\r\n".encode()


def told(there: socket.socket) -> tuple[int, str]:
    """Status and code of an answer, which must be of the one form."""
    given = b""
    while b"\r\n\r\n" not in given or not given.endswith(b"}}"):
        piece = there.recv(65_536)
        assert piece, given
        given += piece
    started, _, body = given.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert error.keys() == {"code", "message", "next"}
    return int(started.split()[1]), error["code"]


def _closed_on(there: socket.socket, data: bytes) -> bool:
    """Whether the server no longer takes what is sent."""
    try:
        there.send(data)
    except ConnectionError:
        return True
    return False


def ended(there: socket.socket) -> bool:
    """Whether the server has closed the connection, or does so in time."""
    try:
        return there.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400, "no_http")),
        (b"GET /health HTTP/9.9\r\n\r\n", (400, "no_http")),
        (b"GET / \xff\xfe HTTP/1.1\r\n\r\n", (400, "no_http")),
        (head("Content-Length: 1\r\nTransfer-Encoding: chunked"), (400, "no_http")),
        (head("Content-Length: -1"), (400, "no_http")),
        (head() + b"never\r\n", (400, "no_http")),
        (b"GET /health HTTP/1.1\r\nX: " + b"x" * 70_000, (431, "head_too_large")),
        (b"GET /" + b"x" * 70_000, (431, "head_too_large")),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", (431, "head_too_large")),
        (b"GET /health HTTP/1.1\r\n\r\n", (421, "unknown_host")),
        (b"GET /health HTTP/1.1\r\nHost: evil.test\r\n\r\n", (421, "unknown_host")),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n", (421, "unknown_host")),
        (head("Content-Length: 2\r\nOrigin: http://evil.test"), (403, "foreign_origin")),
        (head("X: y"), (411, "length_required")),
        (head("Content-Length: 1000001"), (413, "too_large")),
        (head("Content-Length: 999999999999999999"), (413, "too_large")),
        (head("Content-Length: 2", form=f"Authorization: Bearer {SCORER}\r\n"), (415, "unsupported_media_type")),
        (head("Content-Length: 2\r\nContent-Encoding: gzip"), (415, "unsupported_media_type")),
        (head("Content-Length: 1") + b"{", (422, "invalid_request")),
        (head("Content-Length: 200000") + b"[" * 200_000, (400, "unreadable")),
        (head("Content-Length: 6000") + b"9" * 6000, (400, "unreadable")),
        (head("Content-Length: 2") + b"\xff\xfe", (422, "invalid_request")),
    ],
)  # fmt: skip
def test_whatever_cannot_be_read_gets_a_documented_code(port: int, request_: bytes, answer: tuple[int, str]) -> None:
    with opened(port) as there:
        there.sendall(request_)
        assert told(there) == answer


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"", (408, "head_timeout")),
        (b"GET /health HTTP/1.1\r\nHost: local", (408, "head_timeout")),
        (b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nX: ", (408, "head_timeout")),
        (head("Content-Length: 100") + b"{", (408, "body_timeout")),
        (head() + b"5000\r\n[1,", (408, "body_timeout")),
    ],
    ids=["silence", "half a head", "half a second head", "half a body", "half a chunk"],
)  # fmt: skip
def test_what_does_not_come_in_time_is_given_up_however_it_trickles(
    port: int, begun: bytes, answer: tuple[int, str]
) -> None:
    with opened(port) as there:
        there.sendall(begun)
        if b"nowhere" in begun:
            assert told(there) == (404, "not_found")
        there.settimeout(SOON / 5)
        found = None
        while found is None:
            try:
                found = told(there)
            except TimeoutError:
                there.send(b"x" if begun else b"")
        there.settimeout(20)
        assert found == answer
        assert ended(there)


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ("", (401, "unauthorized")),
        (f"Authorization: Bearer {READER}\r\n", (403, "forbidden")),
        (FORM, (413, "too_large")),
    ],
    ids=["nobody", "who may not", "who may"],
)  # fmt: skip
def test_a_body_without_end_is_cut_and_of_somebody_who_may_not_ask_never_read(
    port: int, bodies: Bodies, form: str, answer: tuple[int, str]
) -> None:
    with opened(port) as there:
        there.sendall(head(form=form))
        if form != FORM:
            assert told(there) == answer  # before a byte of it was sent
        if form == FORM:
            for _ in range(2 * MAX_BYTES // len(CHUNK)):
                there.send(CHUNK)
            assert told(there) == answer
        began = time.monotonic()
        while not _closed_on(there, CHUNK):
            assert time.monotonic() < began + 20
    assert bodies.held == 0


@pytest.mark.parametrize(
    "more", [b"0\r\nX: " + b"x" * 300_000, b"1;" + b"x" * 300_000, b"0\r\n" + b"X: y\r\n" * 50_000]
)
def test_what_stands_around_a_body_is_bounded_too(port: int, more: bytes) -> None:
    with opened(port) as there:
        there.sendall(head() + more)
        assert told(there) == (431, "head_too_large")
        assert ended(there)


def test_a_body_of_the_smallest_chunks_is_taken(port: int) -> None:
    body = json.dumps(one()).encode()
    with opened(port) as there:
        there.sendall(head(path=GET) + b"".join(b"1\r\n%c\r\n" % sign for sign in body * 20) + b"0\r\n\r\n")
        assert told(there) == (422, "invalid_request")


def test_many_bodies_at_once_are_held_only_up_to_a_bound(port: int, bodies: Bodies) -> None:
    with ExitStack() as stack:
        there = [stack.enter_context(opened(port)) for _ in range(4)]
        for one_ in there:
            one_.sendall(head("Content-Length: 1000000") + b" " * 900_000)
        answers = [told(one_) for one_ in there]
    assert (503, "busy") in answers
    assert set(answers) == {(503, "busy"), (408, "body_timeout")}
    _until(lambda: bodies.held == 0)


def test_connections_above_the_bound_are_told_so_and_those_within_it_go_on(port: int) -> None:
    _until(lambda: ask(port, "GET", "/health")[0] == 503)  # those of the tests before have ended
    with ExitStack() as stack:
        there = [stack.enter_context(opened(port)) for _ in range(40)]
        first, last = there[0], there[-1]
        assert told(last) == (503, "busy")
        first.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert told(first) == (404, "not_found")


def test_an_upload_that_is_dropped_is_nobodys_failure(port: int, caplog: pytest.LogCaptureFixture) -> None:
    before = _counted(port)
    with caplog.at_level(logging.INFO):
        for length in ("Content-Length: 1000", "Transfer-Encoding: chunked"):
            with opened(port) as there:
                there.sendall(head(length) + b"1\r\n")
                time.sleep(SOON / 5)
        _until(lambda: _counted(port)["499"] == before["499"] + 2)
    assert _counted(port)["500"] == before["500"] == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (GET, one() | {"view": VIEW.name, "features": VIEW.features[:1] * 30_000}, 422, "invalid_request"),
        (GET, one() | {"view": VIEW.name, "features": VIEW.features + VIEW.features[:1]}, 422, "invalid_request"),
        (SCORE, {"rows": [{}] * 300_000}, 413, "too_many_rows"),
        (SCORE, {"rows": [{}] * 1_000}, 422, "invalid_request"),
        (SCORE, one() | {f"{n:x}": 0 for n in range(80_000)}, 422, "invalid_request"),
        (SCORE, {"rows": [{f"{n:x}": 0 for n in range(80_000)}]}, 422, "invalid_request"),
    ],
    ids=["names", "a name too many", "rows", "empty rows", "unknown fields", "unknown columns"],
)  # fmt: skip
def test_much_of_something_costs_little(port: int, path: str, body: Any, status: int, code: str) -> None:
    raw = json.dumps(body, separators=(",", ":")).encode()
    assert len(raw) < MAX_BYTES
    began = time.process_time()  # the server is a thread of this process
    got, answer, _ = ask(port, "POST", path, raw=raw, token=SCORER)
    assert time.process_time() < began + 3
    assert (got, answer["error"]["code"]) == (status, code)
    assert len(json.dumps(answer)) < 2_000


def test_what_a_client_asks_for_is_escaped_where_it_is_refused(port: int, caplog: pytest.LogCaptureFixture) -> None:
    status, answer, _ = ask(port, "POST", GET, one() | {"view": "a\n\x1b[31m"}, token=READER)
    assert (status, answer["error"]["code"]) == (404, "unknown_view")
    assert "\x1b" not in answer["error"]["message"]


def _counted(port: int) -> Counter[str]:
    """How many requests of scores had which status."""
    counts = re.findall(
        rf'_seconds_count{{route="{SCORE}",status="(\d+)"}} (\d+)', ask(port, "GET", "/metrics", token=READER)[1]
    )
    return Counter({status: int(count) for status, count in counts})


def _until(done: Any) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
