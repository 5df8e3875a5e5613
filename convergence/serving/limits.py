"""The outermost layer of the server: bodies of bounded size, a request id on everything, one form for every error."""

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convergence.observability.context import bound, current
from convergence.observability.traces import Tracer
from convergence.serving.access import Token

log = logging.getLogger("convergence.serving")

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Observe = Callable[[str, int, float], None]  # (route, status, seconds)


def problem(
    status: int, code: str, message: str, following: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error as every route gives it."""
    return JSONResponse({"error": {"code": code, "message": message, "next": following}}, status, headers)


class Limits:
    """ASGI middleware: refuses bodies above `most` bytes, also those that do not say how long they are.

    `who` is behind an Authorization header: only somebody who is known decides whether a trace is kept.
    """

    def __init__(
        self, app: ASGIApp, *, most: int, observe: Observe, tracer: Tracer, who: Callable[[str | None], Token | None]
    ) -> None:
        self.app, self._most, self._observe, self._tracer, self._who = app, most, observe, tracer, who

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

        try:
            await self._within(scope, receive, sending, headers)
        except Exception:
            log.exception("request %s failed", request_id)
            if not started:
                said = f"request {request_id} failed inside the server"
                answer = problem(500, "internal", said, "tell the operator the request id; the log has the cause")
                await answer(scope, receive, sending)
        return status

    async def _within(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._most:
            await self._too_large(scope, receive, send)
            return
        if b"transfer-encoding" in headers:  # its length is known only when it is there
            body, more = bytearray(), True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > self._most:
                    await self._too_large(scope, receive, send)
                    return
            whole: list[Any] = [{"type": "http.request", "body": bytes(body), "more_body": False}]
            original = receive

            async def replayed() -> Message:
                return whole.pop() if whole else await original()

            receive = replayed
        await self.app(scope, receive, send)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = f"the body is longer than {self._most:,} bytes"
        await problem(413, "too_large", said, "send less in one request")(scope, receive, send)


def _route(scope: Scope) -> str:
    """The path as it was declared: an unknown one must not make a label of its own."""
    return getattr(scope.get("route"), "path", "unknown")
