"""What uvicorn leaves open before a request has a head: how many connections, how long, how large; and in what form.

A connection without a request, or whose head comes a byte at a time, is otherwise held for ever.
"""

from asyncio import BaseTransport, TimerHandle, Transport
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from convergence.serving.problems import problem

CONNECTIONS = 256
HEAD_BYTES = 65_536  # a search by 4,000 characters of code needs 36,000, percent-encoded
HEAD_WITHIN = 10.0  # seconds from the connection, or from the first byte of a further request
LINGER = 5.0  # seconds in which an unread body is thrown away, so that its sender reads the answer


class Bounded(HttpToolsProtocol):
    """uvicorn's protocol within limits: `uvicorn.run(..., http=Bounded)`."""

    connections_most, head_bytes, head_within, linger = CONNECTIONS, HEAD_BYTES, HEAD_WITHIN, LINGER

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._due: TimerHandle | None = None  # the end of a head, or of a body that nobody reads
        self._head = 0  # its bytes so far; -1: none is coming in
        self._refused = False
        self._spare = 0  # bytes that may still come beside those of the body: sizes of its chunks, and what follows it

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin with a head's deadline, or end at once where there are too many."""
        super().connection_made(cast("Transport", transport))
        if len(self.connections) > self.connections_most:
            self._refuse(503, "busy", "too many connections are open", "send it again in some seconds")
            transport.close()
        else:
            self._within(self.head_within, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what is left of a head first, and no more than that where it is too long."""
        if self._refused:
            return
        if self._head >= 0:
            room = self.head_bytes - self._head
            self._head += len(data)
            super().data_received(data[:room])
            data = data[room:]
            if self._refused or not data:
                return
        if self._head < 0:
            self._spare -= len(data)
            super().data_received(data)
        if self._head >= self.head_bytes or (self._head < 0 and self._spare < 0):
            said = f"the request's line and headers are longer than {self.head_bytes:,} bytes"
            self._refuse(431, "head_too_large", said, "send less in the address and the headers")

    def on_body(self, body: bytes) -> None:
        """Chunks may be as small as a byte, with five around it."""
        self._spare += 9 * len(body)
        super().on_body(body)

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._head < 0:
            self._head = 0
            self._within(self.head_within, self._late)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """It has ended."""
        self._in_time()
        self._head, self._spare = -1, self.head_bytes
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Its body has ended."""
        if self._head < 0:
            self._in_time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Throw away what comes of a body that was answered unread, for a moment."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._within(self.linger, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed, in the form of every other error."""
        self._refuse(400, "no_http", "the request is no HTTP that can be parsed", "send HTTP/1.1")

    def _late(self) -> None:
        said = f"the request's line and headers were not there within {self.head_within:g} s"
        self._refuse(408, "head_timeout", said, "send it again, at once")

    def _refuse(self, status: int, code: str, message: str, following: str) -> None:
        if self._refused:
            return
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # for whoever reads or answers an earlier part of it
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        answer = problem(status, code, message, following, {"Connection": "close"})
        headers = b"".join(b"%b: %b\r\n" % one for one in answer.raw_headers)
        self.transport.write(STATUS_LINE[status] + headers + b"\r\n" + bytes(answer.body))
        self.transport.write_eof()
        self._within(self.linger, self.transport.close)

    def _within(self, seconds: float, otherwise: Any) -> None:
        self._in_time()
        self._due = self.loop.call_later(seconds, otherwise)

    def _in_time(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
