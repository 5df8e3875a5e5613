"""The HTTP face of search: its routes and its page. It is given everything that it talks to.

Handlers are plain functions, so that a slow image holds up its own request and not the others.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from convergence.errors import EncoderError, ImageRefused, IndexMissing, ObjectError, SearchError
from convergence.objects.images import MOST_BYTES, ImageDecoder
from convergence.objects.store import Objects
from convergence.observability.context import bind
from convergence.observability.traces import OFF, Tracer
from convergence.search.answer_cache import AnswerCache
from convergence.search.live import Searching
from convergence.search.pictures import fitted
from convergence.search.query import Picture
from convergence.search.query import Query as Asked
from convergence.search.searching import Searcher
from convergence.serving.access import Access
from convergence.serving.answers import Failure
from convergence.serving.limits import Limits
from convergence.serving.metrics import scraped, timed
from convergence.serving.refusals import Failures, Refused, permitted, refusing
from convergence.serving.search_answers import THUMBNAILS, SearchAnswer, SearchHealth, shown
from convergence.serving.search_form import Cursor, Filters, Question, question_of
from convergence.serving.search_metrics import SearchMetrics

_PAGES = Path(__file__).parent / "pages"
_FORMS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
_GUARDED = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PAGE = {**_GUARDED, "Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
_ANSWER = {**_GUARDED, "Cache-Control": "no-store"}
_THUMBNAIL = {  # its name is its hash, so it never changes; private, because it may have taken a token to see it
    **_GUARDED,
    "Content-Security-Policy": "default-src 'none'",
    "Cache-Control": "private, max-age=31536000, immutable",
}
_JPEG = b"\xff\xd8\xff"

_FAILURES: Failures = {
    IndexMissing: (503, "no_index", "see /health, or try again in a moment"),
    SearchError: (422, "not_searchable", "correct the question; see /docs for the form"),
    EncoderError: (422, "not_encodable", "ask with other text or another image"),
}
_DESCRIBED = {
    401: "No token, an unknown or an expired one",
    403: "The token's role may not do this",
    404: "No such route, image or thumbnail",
    410: "The index of the cursor is no longer live",
    413: "Too long a body",
    415: "The body is no JPEG, PNG, WebP or GIF",
    422: "The request is not of the form that the route takes, or its image cannot be decoded",
    429: "Above the rate of the token",
    503: "No index is live",
}
_ABOUT = (
    "Text, images and code in one search. A page of results is answered by one index entirely; `next` leads to the "
    "page after it as long as that index is live. Texts of results came from outside: show them as text."
)


def create_search_app(
    searching: Searching,
    objects: Objects,
    decoder: ImageDecoder,
    access: Access,
    metrics: SearchMetrics,
    *,
    name: str = "semantic_search",
    max_bytes: int = MOST_BYTES,
    tracer: Tracer = OFF,
    on_stop: Sequence[Callable[[], None]] = (),
) -> FastAPI:
    """The service of one use case's search.

    Args:
        searching: what answers.
        objects: where images and thumbnails are.
        decoder: of images that are asked with.
        access: who may ask; the page itself and /health are for everybody.
        metrics: that /metrics gives.
        name: of the use case.
        max_bytes: of an image.
        tracer: of requests.
        on_stop: called in order when the server ends.
    """
    cache = AnswerCache(metrics.cached)
    reader = permitted(access, metrics, "reader")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for stop in on_stop:
            stop()

    described: Any = {status: {"model": Failure, "description": said} for status, said in _DESCRIBED.items()}
    app = FastAPI(title=f"Convergence: {name}", description=_ABOUT, lifespan=lifespan, responses=described)
    app.add_middleware(Limits, most=max_bytes, observe=metrics.answered, tracer=tracer, who=access.who)
    refusing(app, _FAILURES)

    def picture(content: bytes, searcher: Searcher) -> Picture:
        settings = searcher.pixel_settings()
        return Picture(sha256(content).hexdigest(), lambda: fitted(content, decoder, settings))

    def stored(name: str, searcher: Searcher) -> Picture:
        """The image of an item; as its name is its hash, it is fetched only if the answer is not known yet."""
        if name not in searcher.objects():
            raise Refused(404, "unknown_image", "no image of the index has this hash", "take it from an answer")
        settings = searcher.pixel_settings()
        return Picture(name, lambda: fitted(objects.get(name), decoder, settings))

    def answer(query: Asked, filters: Filters, searcher: Searcher, request: Request) -> Response:
        began, by = perf_counter(), "image" if query.image else "code" if query.code else "text"
        if unknown := set(query.modalities) - set(searcher.modalities):
            there, said = ", ".join(searcher.modalities), f"{len(unknown)} of the modalities asked for are not here"
            raise Refused(422, "unknown_modality", said, f"there are {there}")
        query = _continued(query, filters.cursor, searcher.version)
        bind(index_version=searcher.version)
        try:
            with tracer.span("search") as span, timed(metrics.search.labels(by), "request_id"):
                found = cache.search(searcher, query)
                span.set(by=by, results=len(found.results), total=found.total)
        except ImageRefused as error:
            metrics.images_refused.inc()
            raise _unreadable(str(error)) from None
        after = query.offset + len(found.results)
        following = str(Cursor(found.version, question_of(query), after)) if 0 < after < found.total else None
        told = {
            **{"request_id": request.state.request_id, "index_version": found.version},
            **{"modalities": searcher.answering(query), "offset": query.offset, "total": found.total},
            **{"results": [shown(result) for result in found.results], "next": following},
            "took_ms": round((perf_counter() - began) * 1e3, 2),
        }
        return JSONResponse(told, headers=_ANSWER)

    def search(asked: Annotated[Question, Query()], request: Request) -> Response:
        """Search by words (`q`), by code, or by an image of the index (`like`)."""
        with searching.searcher() as searcher:
            like = stored(asked.like, searcher) if asked.like else None
            return answer(asked.narrowed(text=asked.q, code=asked.code, image=like), asked, searcher, request)

    def search_by_image(
        filters: Annotated[Filters, Query()], request: Request, content: Annotated[bytes, Depends(_body)]
    ) -> Response:
        """Search by an image: the body is the file, JPEG, PNG, WebP or GIF."""
        with searching.searcher() as searcher:
            return answer(filters.narrowed(image=picture(content, searcher)), filters, searcher, request)

    def thumbnail(sha256: str) -> Response:
        """The JPEG of a result."""
        with searching.searcher() as searcher:
            known = sha256 in searcher.thumbnails()
        try:
            content = objects.get(sha256) if known else b""
        except ObjectError:
            content = b""
        if not content.startswith(_JPEG):
            raise Refused(404, "unknown_thumbnail", "no item of the index has this thumbnail", "take it from an answer")
        return Response(content, media_type="image/jpeg", headers=_THUMBNAIL)

    def health() -> Response:
        """Whether there is an index that answers: 503 where there is none, with the reasons."""
        state = searching.state()
        problems = [state.refused] if state.refused else []
        told = {"index_version": state.version, "modalities": dict(state.counts), "problems": problems}
        return JSONResponse({"usable": state.version is not None, **told}, 200 if state.version else 503, _ANSWER)

    def prometheus(request: Request) -> Response:
        """Metrics for Prometheus; as OpenMetrics, with exemplars, where that is asked for."""
        metrics.told(searching)
        return scraped(metrics.registry, request.headers.get("accept", ""))

    image: Any = {"requestBody": {"required": True, "content": {"image/*": {"schema": {"format": "binary"}}}}}
    app.get("/v1/search", response_model=SearchAnswer, dependencies=[reader])(search)
    app.post("/v1/search/image", response_model=SearchAnswer, dependencies=[reader], openapi_extra=image)(
        search_by_image
    )
    app.get(f"{THUMBNAILS}/{{sha256}}", response_class=Response, dependencies=[reader])(thumbnail)
    app.get("/health", response_model=SearchHealth)(health)
    app.get("/metrics", dependencies=[reader])(prometheus)
    for address, file in {"/": "search.html", **{f"/{n}": n for n in ("search.css", "search.js", "icon.svg")}}.items():
        content, form = (_PAGES / file).read_bytes(), _FORMS[file.rsplit(".")[-1]]
        app.get(address, include_in_schema=False)(_serving(content, form))
    return app


async def _body(request: Request) -> bytes:
    return await request.body()


def _serving(content: bytes, form: str) -> Callable[[], Response]:
    return lambda: Response(content, media_type=form, headers=_PAGE)


def _continued(query: Asked, cursor: str | None, version: str) -> Asked:
    """The query from the page of its cursor on. Raises Refused: the cursor is of another question or index."""
    from dataclasses import replace

    if cursor is None:
        return query
    place = Cursor.read(cursor)
    if place.version != version:
        said = "the index of the cursor is no longer live: its pages cannot be continued in another"
        raise Refused(410, "index_gone", said, "ask again without `cursor`, from the first page")
    if place.question != question_of(query):
        raise Refused(422, "invalid_cursor", "the cursor is of another question", "send the question it came from")
    return replace(query, offset=place.offset)


def _unreadable(reason: str) -> Refused:
    status = 415 if "known format" in reason else 413 if "at most" in reason else 422
    return Refused(status, "image_refused", f"the image is refused: {reason}", "send a JPEG, PNG, WebP or GIF")
