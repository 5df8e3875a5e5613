"""The outermost layer of the server: bodies of bounded size, a request id on everything, one form for every error."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("convergence.serving")

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Observe = Callable[[str, int, float], None]  # (route, status, seconds)


def problem(
    status: int, code: str, message: str, following: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error as every route gives it."""
    return JSONResponse({"error": {"code": code, "message": message, "next": following}}, status, headers)


class Limits:
    """ASGI middleware: refuses bodies above `most` bytes, also those that do not say how long they are."""

    def __init__(self, app: ASGIApp, *, most: int, observe: Observe) -> None:
        self.app, self._most, self._observe = app, most, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began, status, started = time.perf_counter(), 500, False

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
        finally:
            self._observe(_route(scope), status, time.perf_counter() - began)

    async def _within(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._most:
            await self._too_large(scope, receive, send)
            return
        if b"transfer-encoding" in headers:  # its length is known only when it is there
            body, more = b"", True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body, more = body + message.get("body", b""), message.get("more_body", False)
                if len(body) > self._most:
                    await self._too_large(scope, receive, send)
                    return
            whole: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
            original = receive

            async def replayed() -> Message:
                return whole.pop() if whole else await original()

            receive = replayed
        await self.app(scope, receive, send)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = f"the body is longer than {self._most:,} bytes"
        await problem(413, "too_large", said, "send fewer rows in a request")(scope, receive, send)


def _route(scope: Scope) -> str:
    """The path as it was declared: an unknown one must not make a label of its own."""
    return getattr(scope.get("route"), "path", "unknown")
