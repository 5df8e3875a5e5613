"""Whom a server answers when a browser asks: its own pages, under a name of its own.

A page of another site can make a browser send requests here (an image, a form, a websocket), and by pointing its own
name at this machine (DNS rebinding) even read the answers. A browser says what it does in Host and Origin.
"""

import re
from collections.abc import Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from convergence.serving.problems import problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


def hosts_of(setting: str) -> frozenset[str]:
    """The names of a setting: `host` or `host:port`, with commas."""
    return frozenset(part.strip().lower() for part in setting.split(",") if part.strip())


class SameOrigin:
    """ASGI middleware: refuses a foreign Host (421) or Origin (403), of websockets too.

    `hosts`: names of the server, besides those of loopback and the address that the connection came to.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = ()) -> None:
        self.app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin one websocket."""
        refused = self._refused(scope) if scope["type"] in ("http", "websocket") else None
        if refused is None:
            await self.app(scope, receive, send)
        else:
            await refuse(refused, scope, receive, send)

    def _refused(self, scope: Scope) -> Response | None:
        host, *others = _values(scope, b"host") or [""]
        if others or not self._known(host, scope):
            said = "the server has no such name as the Host that was asked for"
            return problem(421, "unknown_host", said, "ask by its address, or name the host in CONVERGENCE_HOSTS")
        if all(self._own(origin, host) for origin in _values(scope, b"origin")):
            return None
        said = "a page of another origin may ask nothing here"
        return problem(403, "foreign_origin", said, "ask from a page of this server, or by a program")

    def _known(self, host: str, scope: Scope) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].strip("[]")
        return name in LOOPBACK or name == (scope.get("server") or ("",))[0] or not {name, host}.isdisjoint(self._hosts)

    def _own(self, origin: str, host: str) -> bool:
        scheme, _, there = origin.partition("://")
        return scheme in ("http", "https") and (there == host or there in self._hosts)


async def refuse(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Give an answer that is no; to a websocket, which takes none, with 403 before it begins."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
    else:
        await answer(scope, receive, send)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for given, value in scope["headers"] if given == name]
