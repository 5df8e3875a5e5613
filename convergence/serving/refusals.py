"""Answers other than the one asked for, in one form, and the guard that gives most of them."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from convergence.errors import ModelError
from convergence.serving.access import Access
from convergence.serving.limits import problem
from convergence.serving.metrics import RequestMetrics
from convergence.serving.reasons import NoReasons, NotExplainable
from convergence.serving.scoring import NotReady

log = logging.getLogger("convergence.serving")

DESCRIBED = {
    401: "No token, an unknown or an expired one",
    403: "The token's role may not do this",
    404: "No such route, feature view or feature",
    413: "Too many rows, or too long a body",
    422: "The request is not of the form that the route takes, or its row cannot be scored or explained",
    429: "Above the rate of the token",
    503: "No model can answer, or its reasons cannot be had",
}
Failures = Mapping[type[Exception], tuple[int, str, str]]  # status, stable code, what to do

_FAILURES: Failures = {
    NotReady: (503, "no_model", "see /health, or try again in a moment"),
    NotExplainable: (422, "not_explainable", "ask without reasons"),
    NoReasons: (503, "no_reasons", "ask without reasons, or try again in a moment"),
    ModelError: (422, "not_scorable", "correct the row, or leave it to a person"),
}
_CODES = {404: "not_found", 405: "method_not_allowed"}


class Refused(Exception):
    """An answer of another status: a stable code, what is wrong, and what to do."""

    def __init__(
        self, status: int, code: str, message: str, following: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.response = problem(status, code, message, following, headers)


def as_name(asked: str) -> str:
    """What a request calls something, if that is a name; a text that is none may be personal, and is not repeated."""
    return asked if re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]{0,79}|\d{1,4})", asked) else "…"


def permitted(access: Access, metrics: RequestMetrics, role: str) -> Any:
    """What a route depends on: a token with the role, within its rate."""

    async def check(request: Request) -> None:
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

    return Depends(check)


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
