"""Dagster's webserver behind a guard: whoever may ask GraphQL may launch any run.

Dagster's own answers every page that a browser shows, and runs a mutation that stands in an address.
"""

import hmac
import sys
from base64 import b64decode
from hashlib import sha256

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convergence.serving.problems import problem
from convergence.serving.same_origin import SameOrigin, hosts_of, refuse


class ByPost:
    """ASGI middleware: what changes anything comes by POST with JSON, which no page of another origin can send.

    Nor can one show ours in a frame of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; websockets pass, because GraphQL has only subscriptions there."""

        async def unframed(message: Message) -> None:
            if message["type"] == "http.response.start":  # nor may a page lay its own over ours and lead the clicks
                message["headers"] = [*message.get("headers", ()), (b"x-frame-options", b"SAMEORIGIN")]
            await send(message)

        refused = _refused(scope) if scope["type"] == "http" else None
        await (refused or self.app)(scope, receive, unframed)


def _refused(scope: Scope) -> Response | None:
    following = 'send {"query": ...} by POST with Content-Type: application/json'
    if scope["method"] == "POST":
        kind = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind == b"application/json":
            return None
        return problem(415, "unsupported_media_type", "the body is not sent as application/json", following)
    if scope["method"] not in ("GET", "HEAD"):
        return problem(405, "method_not_allowed", "there are GET and POST", following, {"Allow": "GET, HEAD, POST"})
    if scope["path"].rstrip("/").endswith("/graphql") and scope["query_string"]:
        return problem(405, "method_not_allowed", "GraphQL is not taken from an address", following, {"Allow": "POST"})
    return None


class OneToken:
    """ASGI middleware: asks for a token, as the password of HTTP's Basic scheme or as a bearer's."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self._digest = app, sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin one websocket."""
        if scope["type"] == "lifespan" or self._known(dict(scope["headers"]).get(b"authorization", b"")):
            await self.app(scope, receive, send)
            return
        asks = {"WWW-Authenticate": 'Basic realm="Convergence", charset="UTF-8"'}
        said = problem(401, "unauthorized", "no token, or a wrong one", "the password is CONVERGENCE_UI_TOKEN", asks)
        await refuse(said, scope, receive, send)

    def _known(self, authorization: bytes) -> bool:
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() == b"basic":
            try:
                given = b64decode(given).partition(b":")[2]
            except ValueError:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(sha256(given.strip()).digest(), self._digest)


def guarded(app: ASGIApp, *, hosts: str, token: str | None) -> ASGIApp:
    """An app behind the guard; `hosts`: names besides loopback's, with commas; `token` None: none is asked for."""
    inner: ASGIApp = ByPost(app)
    return SameOrigin(OneToken(inner, token) if token else inner, hosts=hosts_of(hosts))


def main(port: int, workspace: str) -> None:
    """Serve the instance of DAGSTER_HOME and the code locations of a workspace file on loopback until interrupted."""
    import dagster as dg
    import uvicorn
    from dagster_shared.cli import WorkspaceOpts
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.cli import (  # what its own command is made of; only the app's surroundings are ours
        WorkspaceProcessContext,  # pyright: ignore[reportPrivateImportUsage]
        workspace_opts_to_load_target,  # pyright: ignore[reportPrivateImportUsage]
    )
    from dagster_webserver.version import __version__

    from convergence.serving.heads import Bounded
    from resources.environments import settings

    here = settings()
    token = here.ui_token.get_secret_value() if here.ui_token else None
    target = workspace_opts_to_load_target(WorkspaceOpts(workspace=(workspace,)))
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, workspace_load_target=target, version=__version__) as context,
    ):
        app = create_app_from_workspace_process_context(context, live_data_poll_rate=2000)
        uvicorn.run(
            guarded(app, hosts=here.hosts, token=token),
            port=port, http=Bounded, log_level="warning", access_log=False, timeout_graceful_shutdown=5,
        )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
