"""The HTTP face of search: its routes and its page. It is given everything that it talks to."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from convergence.errors import EncoderError, IndexMissing, ObjectError, SearchError, ServiceError
from convergence.objects.images import MOST_BYTES
from convergence.serving.access import Access
from convergence.serving.answers import Failure
from convergence.serving.bodies import Bodies
from convergence.serving.highlighting import tokens
from convergence.serving.limits import Limits
from convergence.serving.refusals import DESCRIBED_ALIKE, Failures, permitted, refusing
from convergence.serving.same_origin import SameOrigin
from convergence.serving.search_answers import THUMBNAILS, SearchAnswer, SearchHealth
from convergence.serving.search_routes import GUARDED, SearchRoutes

_PAGES = Path(__file__).parent / "pages"
_FILES = {  # address: file, type
    "/": ("search.html", "text/html"),
    "/search.css": ("search.css", "text/css"),
    "/search.js": ("search.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
_PAGE = {**GUARDED, "Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}

_FAILURES: Failures = {
    IndexMissing: (503, "no_index", "see /health, or try again in a moment"),
    SearchError: (422, "not_searchable", "correct the question; see /docs for the form"),
    EncoderError: (422, "not_encodable", "ask with other text or another image"),
    ServiceError: (503, "no_index_server", "try again in a moment"),
    ObjectError: (503, "no_object", "ask by words meanwhile; the operator finds the object's name in the message"),
}
_DESCRIBED = DESCRIBED_ALIKE | {
    404: "No such route, image or thumbnail",
    410: "The index of the cursor is no longer live",
    413: "Too long a body, or too large an image",
    415: "The body is no JPEG, PNG, WebP or GIF, or is compressed",
    422: "The request is not of the form that the route takes, or its image cannot be decoded",
    503: "No index is live, its server or the store does not answer, or too much is asked at once",
}
_ABOUT = (
    "Text, images and code in one search. A page of results is answered by one index entirely; `next` leads to the "
    "page after it as long as that index is live. Texts of results came from outside: show them as text."
)
_IMAGE: Any = {"requestBody": {"required": True, "content": {"image/*": {"schema": {"format": "binary"}}}}}


def create_search_app(
    routes: SearchRoutes,
    access: Access,
    *,
    name: str,
    hosts: Collection[str] = (),
    bodies: Bodies | None = None,
    on_stop: Sequence[Callable[[], None]] = (),
) -> FastAPI:
    """The service of one use case's search.

    Args:
        routes: what answers.
        access: who may ask; the page itself and /health are for everybody.
        name: of the use case.
        hosts: names of the server besides those of loopback and its address.
        bodies: their bounds; default: that of an image each.
        on_stop: called in order when the server ends.
    """
    reader = permitted(access, routes.metrics, "reader")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for stop in on_stop:
            stop()

    described: Any = {status: {"model": Failure, "description": said} for status, said in _DESCRIBED.items()}
    app = FastAPI(title=f"Convergence: {name}", description=_ABOUT, lifespan=lifespan, responses=described)
    app.add_middleware(SameOrigin, hosts=hosts)
    bounds = bodies or Bodies(MOST_BYTES)
    app.add_middleware(Limits, bodies=bounds, observe=routes.metrics.answered, tracer=routes.tracer, who=access.who)
    refusing(app, _FAILURES)
    route: Any = partial(app.router.add_api_route, route_class_override=reader)
    by_image = {"methods": ["POST"], "response_model": SearchAnswer, "openapi_extra": _IMAGE}
    route("/v1/search/image", routes.search_by_image, **by_image)
    route("/v1/search", routes.search, methods=["GET"], response_model=SearchAnswer)
    route(f"{THUMBNAILS}/{{sha256}}", routes.thumbnail, methods=["GET"], response_class=Response)
    route("/metrics", routes.prometheus, methods=["GET"])
    app.get("/health", response_model=SearchHealth)(routes.health)
    tokens("pass", "python")  # the first who asks does not wait for imports
    for address, (file, form) in _FILES.items():
        app.get(address, include_in_schema=False)(_serving((_PAGES / file).read_bytes(), form))
    return app


def _serving(content: bytes, form: str) -> Callable[[], Response]:
    return lambda: Response(content, media_type=form, headers=_PAGE)
