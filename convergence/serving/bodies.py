"""Bodies of requests within bounds, piece by piece as a route reads them: one that none reads is never held."""

import asyncio
from dataclasses import dataclass, field

from starlette.types import Message, Receive

from convergence.serving.problems import Refused

WITHIN = 30.0
TOGETHER = 100_000_000


@dataclass
class Bodies:
    """Their bounds. `most`: bytes of one; `within`: seconds for one; `together`: bytes of all that are in memory."""

    most: int
    within: float = WITHIN
    together: int = TOGETHER
    held: int = field(default=0, init=False)


class Body:
    """One body; `length` is what its request says. `gone`: the client ended the connection before it was whole."""

    def __init__(self, bodies: Bodies, receive: Receive, length: bytes | None) -> None:
        self.gone = False
        self._bodies, self._receive = bodies, receive
        self._length = int(length or 0)  # the server has refused what is no number
        self._due = asyncio.get_running_loop().time() + bodies.within
        self._size, self._whole = 0, False

    async def receive(self) -> Message:
        """The next piece. Raises Refused where it is too much (413), too late (408), or too many are read (503)."""
        if self._whole:
            return await self._receive()
        self._take(0)
        try:
            async with asyncio.timeout_at(self._due):
                message = await self._receive()
        except TimeoutError:
            said = f"the body was not there within {self._bodies.within:g} s"
            raise Refused(408, "body_timeout", said, "send it again, or less in one request") from None
        self.gone = message["type"] == "http.disconnect"
        self._whole = not message.get("more_body", False)
        self._take(len(message.get("body", b"")))
        return message

    def forget(self) -> None:
        """Its bytes are no longer in memory."""
        self._bodies.held -= self._size
        self._size = 0

    def _take(self, more: int) -> None:
        self._size += more
        self._bodies.held += more
        if max(self._size, self._length) > self._bodies.most:
            said = f"the body is longer than {self._bodies.most:,} bytes"
            raise Refused(413, "too_large", said, "send less in one request")
        if self._bodies.held > self._bodies.together:
            said = "too many bodies are being read"
            raise Refused(503, "busy", said, "send it again in some seconds", {"Retry-After": "5"})
