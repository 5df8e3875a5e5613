"""What the search service's routes do: find what is asked about, answer it from one snapshot, say how.

Every method is one route's handler, called in a thread of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256 as _sha256
from threading import BoundedSemaphore
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from fastapi import Query as Asked
from fastapi.responses import JSONResponse, Response

from convergence.errors import ImageRefused, ObjectError
from convergence.objects.images import ImageDecoder
from convergence.objects.store import Objects
from convergence.observability.context import bind
from convergence.observability.traces import OFF, Tracer
from convergence.search.answer_cache import AnswerCache
from convergence.search.following import Searching
from convergence.search.query import LONGEST, Picture, Query
from convergence.search.searching import Searcher
from convergence.serving.metrics import scraped, timed
from convergence.serving.problems import Refused
from convergence.serving.search_answers import shown
from convergence.serving.search_form import Cursor, Filters, Question, question_of
from convergence.serving.search_metrics import SearchMetrics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GUARDED = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_ANSWER = {**GUARDED, "Cache-Control": "no-store"}
_THUMBNAIL = {  # its name is its hash, so it never changes; private, because it may have taken a token to see it
    **GUARDED,
    "Content-Security-Policy": "default-src 'none'",
    "Cache-Control": "private, max-age=31536000, immutable",
}
DECODED = 4  # images that wait for the decoder or are in it: each holds one of the server's 40 threads
_JPEG = b"\xff\xd8\xff"


async def _body(request: Request) -> bytes:
    return await request.body()


@dataclass
class SearchRoutes:
    """The routes, over what answers them. Threads may share it."""

    searching: Searching
    objects: Objects
    decoder: ImageDecoder
    metrics: SearchMetrics
    tracer: Tracer = OFF
    cache: AnswerCache = field(init=False)
    _decoding: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(DECODED), init=False)

    def __post_init__(self) -> None:
        self.cache = AnswerCache(self.metrics.cached)

    def search(self, asked: Annotated[Question, Asked()], request: Request) -> Response:
        """Search by words (`q`), by code, or by an item of the index (`like`)."""
        with self.searching.searcher() as searcher:
            by = self._like(asked.like, searcher) if asked.like else {"text": asked.q, "code": asked.code}
            return self._answer(asked.narrowed(**by), asked, searcher, request)

    def search_by_image(
        self, filters: Annotated[Filters, Asked()], request: Request, content: Annotated[bytes, Depends(_body)]
    ) -> Response:
        """Search by an image: the body is the file, JPEG, PNG, WebP or GIF."""
        with self.searching.searcher() as searcher:
            pixels = partial(self._pixels, lambda: content, searcher.pixel_settings())
            image = Picture(_sha256(content).hexdigest(), pixels)
            return self._answer(filters.narrowed(image=image), filters, searcher, request)

    def thumbnail(self, sha256: str, item: Annotated[str, Asked(max_length=200)]) -> Response:
        """The JPEG of a result, at the address that the result gives; `item` is whose it is."""
        with self.searching.searcher() as searcher:
            found = searcher.item(item)
        known = found is not None and found.thumbnail_sha256 == sha256
        try:
            content = self.objects.get(sha256) if known else b""
        except ObjectError:
            content = b""
        if not content.startswith(_JPEG):
            raise Refused(404, "unknown_thumbnail", "no item of the index has this thumbnail", "take it from an answer")
        return Response(content, media_type="image/jpeg", headers=_THUMBNAIL)

    def health(self) -> Response:
        """Whether there is an index that answers: 503 where there is none, with the reasons."""
        state = self.searching.state()
        problems = [state.refused] if state.refused else []
        told = {"index_version": state.version, "modalities": dict(state.counts), "problems": problems}
        return JSONResponse({"usable": state.version is not None, **told}, 200 if state.version else 503, _ANSWER)

    def prometheus(self, request: Request) -> Response:
        """Metrics for Prometheus; as OpenMetrics, with exemplars, where that is asked for."""
        self.metrics.told(self.searching)
        return scraped(self.metrics.registry, request.headers.get("accept", ""))

    def _like(self, item_id: str, searcher: Searcher) -> dict[str, Any]:
        """What to ask with for items that are like one: its image, its code or its text. Raises Refused (404)."""
        item, without = searcher.item(item_id), {"without": frozenset([item_id])}
        if item is None:
            raise Refused(404, "unknown_item", "the index has no item of this id", "take it from an answer")
        if name := item.object_sha256:  # as its name is its hash, it is fetched only if the answer is not known yet
            settings = searcher.pixel_settings()
            return {"image": Picture(name, partial(self._pixels, partial(self.objects.get, name), settings)), **without}
        if item.code:
            return {"code": item.code[: LONGEST["code"]], **without}
        return {"text": (item.text or item.title or "")[: LONGEST["text"]], **without}

    def _pixels(self, content: Callable[[], bytes], settings: Mapping[str, Any]) -> "NDArray[np.uint8]":
        """What an image encoder takes. Raises Refused (503) where others wait already: words are not to wait too."""
        if not self._decoding.acquire(blocking=False):
            raise Refused(503, "busy", f"{DECODED} other images are being decoded", "send it again in some seconds")
        try:
            return self.decoder.pixels(content(), **settings)
        finally:
            self._decoding.release()

    def _answer(self, query: Query, filters: Filters, searcher: Searcher, request: Request) -> Response:
        began, by = perf_counter(), "image" if query.image else "code" if query.code else "text"
        if unknown := set(query.modalities) - set(searcher.modalities):
            said = f"{len(unknown)} of the modalities asked for are not here"
            raise Refused(422, "unknown_modality", said, f"there are {', '.join(searcher.modalities)}")
        query = _continued(query, filters.cursor, searcher.version)
        bind(index_version=searcher.version)
        try:
            with self.tracer.span("search") as span, timed(self.metrics.search.labels(by), "request_id"):
                found = self.cache.search(searcher, query)
                span.set(by=by, results=len(found.results), total=found.total)
        except ImageRefused as error:
            self.metrics.images_refused.inc()
            raise _unreadable(error.reason) from None
        after = query.offset + len(found.results)
        following = (
            str(Cursor(found.version, question_of(query), after)) if query.offset < after < found.total else None
        )
        told = {
            **{"request_id": request.state.request_id, "index_version": found.version},
            **{"modalities": searcher.answering(query), "offset": query.offset, "total": found.total},
            **{"results": [shown(result) for result in found.results], "next": following},
            "took_ms": round((perf_counter() - began) * 1e3, 2),
        }
        return JSONResponse(told, headers=_ANSWER)


def _continued(query: Query, cursor: str | None, version: str) -> Query:
    """The query from the page of its cursor on. Raises Refused: the cursor is of another question or index."""
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
