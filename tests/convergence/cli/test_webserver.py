"""The guard in front of Dagster's webserver, around an app that answers everything and notes that it was asked."""

from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from convergence.cli.webserver import guarded
from tests.convergence.serving.service import running

JSON = {"Content-Type": "application/json"}
GRAPHQL = "/graphql"


async def _answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("reached")


async def _greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def _app(token: str | None = None) -> object:
    everything = Route("/{path:path}", _answer, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])
    return guarded(Starlette(routes=[WebSocketRoute(GRAPHQL, _greet), everything]), hosts="ui.test", token=token)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(_app()) as port:
        yield port


@pytest.fixture(scope="module")
def asking() -> Iterator[int]:
    with running(_app("correct horse battery")) as port:
        yield port


def ask(port: int, method: str = "GET", path: str = "/", **headers: str) -> int:
    """The status; `headers` with underscores for hyphens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        method, path, "{}" if method == "POST" else None, {n.replace("_", "-"): v for n, v in headers.items()}
    )
    answer = connection.getresponse()
    assert (answer.status == 200) == (answer.read() == b"reached")
    connection.close()
    return answer.status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9", "[::1]:3000", "ui.test", "ui.test:8443"])
def test_a_name_of_the_server_is_answered(port: int, host: str) -> None:
    assert ask(port, Host=host) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.7", "evil.test:3000", "", "localhost@evil.test",
     "evil.test/localhost", "localhost:x", "[::1", "ui.test.", "a,localhost"],
)  # fmt: skip
def test_a_name_that_somebody_else_pointed_here_is_not(port: int, host: str) -> None:
    assert ask(port, Host=host) == 421


@pytest.mark.parametrize("origin", ["http://127.0.0.1:{port}", "https://127.0.0.1:{port}", "https://ui.test"])
def test_a_page_of_the_server_may_post(port: int, origin: str) -> None:
    assert ask(port, "POST", GRAPHQL, **JSON, Origin=origin.format(port=port)) == 200


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.test", "http://localhost:{port}", "http://127.0.0.1", "http://127.0.0.1:1",
     "ftp://127.0.0.1:{port}", "127.0.0.1:{port}", "http://ui.test.evil.test", "http://ui.test:1"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_of_another_origin_is_refused_also_of_another_port(port: int, origin: str, method: str) -> None:
    assert ask(port, method, GRAPHQL, **JSON, Origin=origin.format(port=port)) == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain;application/json",
             "text/plain; a=application/json", "application/graphql", "application/jsonp", ""],
)  # fmt: skip
def test_what_a_form_can_post_is_refused(port: int, kind: str) -> None:
    assert ask(port, "POST", GRAPHQL, Content_Type=kind) == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_graphql_in_an_address_is_refused(port: int, method: str) -> None:
    assert ask(port, method, f"{GRAPHQL}?query=mutation{{launchRun}}") == 405


def test_pages_and_their_playground_are_answered(port: int) -> None:
    assert [ask(port, "GET", path) for path in ("/", "/runs?q=mutation", GRAPHQL)] == [200] * 3


def test_a_page_can_be_framed_by_its_own_alone(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/runs")
    assert connection.getresponse().getheader("X-Frame-Options") == "SAMEORIGIN"
    connection.close()


def test_a_websocket_of_a_foreign_page_or_name_never_opens(port: int) -> None:
    address = f"ws://127.0.0.1:{port}{GRAPHQL}"
    for name, value in (("Origin", "http://evil.test"), ("Host", "evil.test")):
        with pytest.raises(InvalidStatus) as refused, connect(address, additional_headers={name: value}):
            pass
        assert refused.value.response.status_code == 403
    with connect(address, additional_headers={"Origin": f"http://127.0.0.1:{port}"}):
        pass


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Basic " + b64encode(b"ann:correct horse battery").decode(), 200),
        ("Bearer correct horse battery", 200),
        ("Basic " + b64encode(b"correct horse battery:").decode(), 401),
        ("Basic ====", 401),
        ("Digest correct horse battery", 401),
        ("Bearer ", 401),
        ("", 401),
    ],
)  # fmt: skip
def test_where_a_token_is_set_nothing_is_answered_without_it(asking: int, given: str, status: int) -> None:
    assert ask(asking, Authorization=given) == status


def test_a_websocket_needs_the_token_too(asking: int) -> None:
    address = f"ws://127.0.0.1:{asking}{GRAPHQL}"
    with pytest.raises(InvalidStatus), connect(address):
        pass
    with connect(address, additional_headers={"Authorization": "Bearer correct horse battery"}):
        pass
