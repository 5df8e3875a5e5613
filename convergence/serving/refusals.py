"""Answers other than the one asked for, in one form, and the guard that gives most of them."""

import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from convergence.errors import ModelError
from convergence.serving.access import Access
from convergence.serving.metrics import RequestMetrics
from convergence.serving.problems import Refused, problem
from convergence.serving.reasons import NoReasons, NotExplainable
from convergence.serving.scoring import NotReady

log = logging.getLogger("convergence.serving")

DESCRIBED_ALIKE = {  # what every service refuses
    400: "No HTTP, or a body that cannot be read",
    401: "No token, an unknown or an expired one",
    403: "The token's role may not do this; or a page of another origin asks",
    408: "The request did not come in time",
    411: "A body without length that is not chunked",
    421: "The server has no such name as the Host that was asked for",
    429: "Above the rate of the token",
    431: "Too long an address or headers",
}
DESCRIBED = DESCRIBED_ALIKE | {
    404: "No such route, feature view or feature",
    413: "Too many rows, or too long a body",
    415: "The body is no JSON, or is compressed",
    422: "The request is not of the form that the route takes, or its row cannot be scored or explained",
    503: "No model can answer, or its reasons cannot be had; or too many connections or bodies at once",
}
Failures = Mapping[type[Exception], tuple[int, str, str]]  # status, stable code, what to do

_FAILURES: Failures = {
    NotReady: (503, "no_model", "see /health, or try again in a moment"),
    NotExplainable: (422, "not_explainable", "ask without reasons"),
    NoReasons: (503, "no_reasons", "ask without reasons, or try again in a moment"),
    ModelError: (422, "not_scorable", "correct the row, or leave it to a person"),
}
_CODES = {400: "unreadable", 404: "not_found", 405: "method_not_allowed"}


def as_name(asked: str) -> str:
    """What a request calls something, if that is a name; a text that is none may be personal, and is not repeated."""
    return asked if re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]{0,79}|\d{1,4})", asked) else "…"


def permitted(access: Access, metrics: RequestMetrics, role: str) -> type[APIRoute]:
    """Routes for a token with the role, within its rate; that is settled before anything of a body is read."""

    def check(request: Request) -> None:
        token = access.who(request.headers.get("authorization"))
        if token is None or not access.allows(token, role):
            status, code = (401, "unauthorized") if token is None else (403, "forbidden")
            metrics.denied.labels(code).inc()
            log.warning("%s: %s %s by %s", code, request.method, request.url.path, token.name if token else "unknown")
            said = "no token, an unknown or an expired one" if token is None else f"role {token.role} may not do this"
            headers = {"WWW-Authenticate": "Bearer"} if token is None else None
            raise Refused(status, code, said, f"send `Authorization: Bearer <token>` of a {role}", headers)
        if wait := access.admit(token):
            metrics.limited.labels(token.name).inc()
            headers = {"Retry-After": str(int(wait) + 1)}
            raise Refused(429, "too_many_requests", "above the rate of this token", "wait, then send fewer", headers)

    class Permitted(APIRoute):
        """Its handler, after the checks."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """What FastAPI calls."""
            answer = super().get_route_handler()

            async def checked(request: Request) -> Response:
                check(request)
                if request.method == "POST":
                    _readable(request, json=self.body_field is not None)
                return await answer(request)

            return checked

    return Permitted


def _readable(request: Request, *, json: bool) -> None:
    """Raises Refused where a body has no end, or is of another form than the route takes."""
    headers = request.headers
    if "content-length" not in headers and "transfer-encoding" not in headers:
        raise Refused(411, "length_required", "the request has no body", "send one, with its length or chunked")
    if headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "unsupported_media_type", "the body is encoded", "send it without Content-Encoding")
    if json and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        said = "the body is not sent as application/json"
        raise Refused(415, "unsupported_media_type", said, "send JSON with Content-Type: application/json")


def refusing(app: FastAPI, failures: Failures = _FAILURES) -> None:
    """Give every error of an app the one form; `failures`: errors of ours that its routes raise, special ones first."""

    async def failed(_: Request, error: Exception) -> Response:
        status, code, following = next(told for failure, told in failures.items() if isinstance(error, failure))
        return problem(status, code, str(error), following)

    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for failure in failures:
        app.add_exception_handler(failure, failed)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response


async def _invalid(_: Request, error: Exception) -> Response:
    """What is wrong where, without the values: they may be personal."""
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(as_name(str(part)) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:5]]
    return problem(422, "invalid_request", "; ".join(found), "see /docs for the form, with examples")


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    return problem(error.status_code, code, str(error.detail), "see /docs for the routes", dict(error.headers or {}))
