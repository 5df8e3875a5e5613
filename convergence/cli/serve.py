"""`convergence serve`: the HTTP service of a use case, and the place where it is put together."""

import logging
import signal
import socket
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convergence.cli.files import FileToRead
from convergence.cli.search import composed_search
from convergence.errors import ConvergenceError, SettingsError
from convergence.observability.traces import OFF, Tracer
from convergence.search.use_case import SearchedUseCase
from convergence.services.redis import READ_WITHIN

if TYPE_CHECKING:
    from fastapi import FastAPI

    from convergence.features.online_store import OnlineStore
    from convergence.features.online_updates import OnlineFeatures
    from convergence.lake.tables import Lake
    from convergence.serving.access import Access
    from convergence.serving.bodies import Bodies
    from convergence.serving.use_case import ServedUseCase

RATE, BURST = 500.0, 1_000

log = logging.getLogger(__name__)


@click.command()
@click.argument("use_case")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address than loopback needs tokens.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--follow", is_flag=True, help="Also keep the online state in step with what lands.")
@click.option("--tokens", type=FileToRead(), help="Default: serving/tokens in CONVERGENCE_HOME.")
@click.option("--rate", type=click.FloatRange(min=0.1), default=RATE, show_default=True, help="Requests/s of a token.")
def serve(use_case: str, host: str, port: int, *, follow: bool, tokens: Path | None, rate: float) -> None:
    """Serve scores and features of USE_CASE, or the search of its index, over HTTP; stops with Ctrl-C.

    Tokens are lines `name role token [ISO time of expiry]` of a file that only you can read; roles are reader, scorer
    and admin. Without one, everybody on this machine may ask, and nobody else.
    """
    import uvicorn

    from convergence.cli import lake
    from convergence.observability.logs import log_beside
    from convergence.observability.traces import tracer
    from convergence.serving.access import Access, read_tokens
    from convergence.serving.heads import Bounded
    from convergence.serving.same_origin import LOOPBACK, hosts_of
    from resources.environments import settings

    home, hosts = settings().home, hosts_of(settings().hosts) | {host.lower()}
    allowed = read_tokens(tokens or home / "serving" / "tokens")
    if tokens and not allowed:
        raise SettingsError(f"{tokens} holds no token: write one, or leave --tokens out and stay on loopback")
    access = Access(allowed, rate=rate, burst=max(BURST, int(rate)))
    if access.open:
        if host not in LOOPBACK:
            raise SettingsError(f"{host} is no loopback address, and no token is set: see `convergence serve --help`")
        click.secho("NO TOKENS: whoever is on this machine may ask for what is served", fg="yellow", err=True)
    _expect_free(host, port)
    # uvicorn raises the signal anew when it has shut down: the embedded Redis is stopped when this process exits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    spans = tracer("convergence-service", home / "traces", settings().otlp, settings().traced)
    with log_beside(settings().log_folder):
        if isinstance(one := answering(use_case), SearchedUseCase):
            app, page = composed_search(one, lake(), access, hosts=hosts, tracer=spans), ""
        else:
            page = "docs"
            stores = {"home": home, "redis": settings().redis}
            app = composed(one, lake(), access, **stores, hosts=hosts, follow=follow, tracer=spans)
        click.echo(f"Serving {use_case} at http://{host}:{port}/{page}")
        uvicorn.run(
            app, host=host, port=port, http=Bounded, log_level="warning", access_log=False, timeout_graceful_shutdown=5
        )


def _expect_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise SettingsError(f"{host}:{port} cannot be served at ({error.strerror}): choose another --port") from None


def answering(use_case: str) -> "ServedUseCase | SearchedUseCase":
    """What a use case has a service for: its scores, or the search of its index. Raises click.BadParameter as below."""
    from convergence_assets import declared

    return _named(use_case, declared(lambda one: one.services))


def served(use_case: str) -> "ServedUseCase":
    """A use case whose scores are served. Raises click.BadParameter, which lists those that are."""
    from convergence_assets import declared

    return _named(use_case, declared(lambda one: one.served))


def _named(use_case: str, services: list[Any]) -> Any:
    there = {one.name: one for one in services}
    if use_case not in there:
        raise click.BadParameter(f"no use case {use_case!r} is served; there are: {', '.join(there) or 'none'}")
    return there[use_case]


def composed(
    use_case: "ServedUseCase",
    lake: "Lake",
    access: "Access",
    *,
    home: Path,
    redis: str | None,
    hosts: Collection[str] = (),
    follow: bool = False,
    within: float = READ_WITHIN,
    bodies: "Bodies | None" = None,
    tracer: Tracer = OFF,
) -> "FastAPI":
    """The service with all that it talks to; its threads run, and end with it.

    `hosts`: names of the server besides loopback's. `within`: seconds that a request waits for its features before it
    is answered on defaults. `bodies`: bounds of theirs. `tracer`: of requests.
    """
    from convergence.features.online_store import OnlineStore
    from convergence.monitoring.drift_gauges import DriftGauges
    from convergence.services.redis import connect
    from convergence.serving.app import create_app
    from convergence.serving.champion import Champion
    from convergence.serving.metrics import Metrics
    from convergence.serving.origins import Origins
    from convergence.serving.reading import FeatureReader
    from convergence.serving.reasons import Reasons
    from convergence.serving.releases import ReleaseSource
    from convergence.serving.scoring import Scoring
    from convergence.serving.served_log import ServedLog, exposures_of
    from convergence.serving.variants import Variants

    online = use_case.features.online
    quick, patient = (OnlineStore(connect(redis, home, timeout=t), online.layout) for t in (within, 5.0))
    source = ReleaseSource(use_case.model, lake, patient)
    origins = Origins(lake, use_case.model.models)
    champion = Champion(
        source.released, origins.noting(source.load), patient.newest, online.layout.fingerprint, source.end_canary
    )
    metrics = Metrics()
    metrics.registry.register(DriftGauges(lake, use_case.model.drift))
    metrics.challenger_refused.set_function(lambda: champion.challenger_refused is not None)
    metrics.unrecorded.set_function(lambda: champion.unrecorded is not None)
    written = ServedLog(home / "served" / online.view.name, metrics.lost.inc)
    exposures = ServedLog(exposures_of(home, use_case.model.name), metrics.unlogged.inc)
    variants = Variants(Reasons(source.trees, use_case.words), metrics, exposures, origins.run_of, tracer)
    reader = FeatureReader(online, quick)
    scoring = Scoring(use_case.name, online, reader, champion, variants, metrics, written, tracer=tracer)
    champion.start()
    following = Following(lake, use_case.features, OnlineStore(connect(redis, home), online.layout)) if follow else None
    ends = [champion.stop, written.close, exposures.close, tracer.flush, *([following.stop] if following else [])]
    return create_app(scoring, access, use_case.row, hosts=hosts, bodies=bodies, on_stop=ends)


class Following:
    """Keeps an online store in step with the lake, in a thread; a failure is logged and tried again."""

    def __init__(self, lake: "Lake", features: "OnlineFeatures", store: "OnlineStore", seconds: float = 1.0) -> None:
        self._lake, self._features, self._store, self._seconds = lake, features, store, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="online-state", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _follow(self) -> None:
        from convergence.features.online_updates import keep_up

        while not self._stopped.is_set():
            try:
                keep_up(self._lake.newest(), self._features, self._store)
            except ConvergenceError as error:
                log.error("the online state is not followed: %s", error)
            self._stopped.wait(self._seconds)
