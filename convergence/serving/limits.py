"""The outermost layer of the server: bodies within bounds, a request id on everything, one form for every error."""

import logging
import re
import secrets
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convergence.observability.context import bound, current
from convergence.observability.traces import Tracer
from convergence.serving.access import Token
from convergence.serving.bodies import Bodies, Body
from convergence.serving.problems import problem

log = logging.getLogger("convergence.serving")

GONE = 499  # no answer: the client ended the connection before its request was there

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Observe = Callable[[str, int, float], None]  # (route, status, seconds)


class Limits:
    """ASGI middleware: bodies within bounds for whoever reads them; here none is read, for who asks comes first.

    `who` is behind an Authorization header: only somebody who is known decides whether a trace is kept.
    """

    def __init__(
        self, app: ASGIApp, *, bodies: Bodies, observe: Observe, tracer: Tracer, who: Callable[[str], Token | None]
    ) -> None:
        self.app, self._bodies, self._observe, self._tracer, self._who = app, bodies, observe, tracer, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        made = secrets.token_hex(16)  # of a request without an id; of its trace too, so that there is one to follow
        request_id = given.decode() if _ID.fullmatch(given) else made
        scope.setdefault("state", {})["request_id"] = request_id
        caller = headers.get(b"traceparent", b"").decode("latin-1")
        if caller and self._who(headers.get(b"authorization", b"").decode("latin-1")) is None:
            caller = ""
        with bound(request_id=request_id), self._tracer.trace("request", trace_id=made, caller=caller) as span:
            began = time.perf_counter()
            status = await self._answered(scope, receive, send, headers, request_id)
            took, route = time.perf_counter() - began, _route(scope)
            self._observe(route, status, took)
            span.set(route=route, status=status, **current())
            if status >= 500 or "trace_id" in current():
                level = logging.ERROR if status >= 500 else logging.INFO
                log.log(level, "%s %s: %d in %.1f ms", scope["method"], route, status, took * 1e3)

    async def _answered(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes], request_id: str
    ) -> int:
        status, started = 500, False

        async def sending(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        body = Body(self._bodies, receive, headers.get(b"content-length"))
        try:
            await self.app(scope, body.receive, sending)
        except Exception:
            if not body.gone:
                log.exception("request %s failed", request_id)
            if not started:
                said = f"request {request_id} failed inside the server"
                answer = problem(500, "internal", said, "tell the operator the request id; the log has the cause")
                await answer(scope, receive, sending)
        finally:
            body.forget()
        return GONE if body.gone else status


def _route(scope: Scope) -> str:
    """The path as it was declared: an unknown one must not make a label of its own."""
    return getattr(scope.get("route"), "path", "unknown")
