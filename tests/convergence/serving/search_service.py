"""The search service as a server of its own in a thread, over a small world and the real decoder of images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

from convergence.objects.images import ImageDecoder
from convergence.observability.traces import OFF, Tracer
from convergence.search.following import Searching
from convergence.serving.access import Access, Token
from convergence.serving.bodies import Bodies
from convergence.serving.search_app import create_search_app
from convergence.serving.search_metrics import SearchMetrics
from convergence.serving.search_routes import SearchRoutes
from tests.convergence.search.small_world import World
from tests.convergence.serving.service import ask, running


@dataclass(frozen=True)
class Service:
    """Where it listens, what it follows the live index with, and what decodes its images."""

    port: int
    searching: Searching
    decoder: ImageDecoder

    def get(self, path: str = "/v1/search", *, token: str | None = None, **asked: Any) -> tuple[int, Any]:
        """Status and JSON of a GET; `first` is sent as `from`."""
        named = {"from" if name == "first" else name: value for name, value in asked.items()}
        status, answer, _ = ask(self.port, "GET", f"{path}?{urlencode(named)}" if named else path, token=token)
        return status, answer

    def found(self, **asked: Any) -> list[str]:
        """The item ids of an answer."""
        status, answer = self.get(**asked)
        assert status == 200, answer
        return [result["item_id"] for result in answer["results"]]

    def post(self, body: bytes, **asked: Any) -> tuple[int, Any]:
        """Status and JSON of a search by an image."""
        status, answer, _ = ask(self.port, "POST", f"/v1/search/image?{urlencode(asked)}", raw=body)
        return status, answer

    def raw(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, bytes and headers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, {name.lower(): value for name, value in answer.getheaders()}


@contextmanager
def search_service(
    world: World, *tokens: Token, rate: float = 1e6, max_bytes: int = 2_000_000, tracer: Tracer = OFF
) -> Iterator[Service]:
    searching = world.searching()
    searching.refresh()
    with ImageDecoder(within=30.0) as decoder:
        routes = SearchRoutes(searching, world.objects, decoder, SearchMetrics(), tracer)
        access = Access(tokens, rate=rate, burst=int(rate))
        bodies = Bodies(max_bytes)
        app = create_search_app(routes, access, name="semantic_search", bodies=bodies, on_stop=[searching.stop])
        with running(app) as port:
            yield Service(port, searching, decoder)
