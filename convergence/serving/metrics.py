"""What Prometheus is told of a server, one registry each.

The durations carry exemplars: a request's id, or the id of the run that made the model, each with the trace.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from convergence.models.releases import Release
from convergence.observability.context import exemplar

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1)


class RequestMetrics:
    """What every service tells: latency, and who was refused."""

    def __init__(self) -> None:
        self.registry = of = CollectorRegistry()
        self.latency = Histogram(
            "convergence_request_seconds", "From request to answer", ["route", "status"], buckets=_SECONDS, registry=of
        )
        self.denied = Counter("convergence_denied", "Requests refused for their token", ["code"], registry=of)
        self.limited = Counter("convergence_rate_limited", "Requests above a token's rate", ["token"], registry=of)
        for code in ("unauthorized", "forbidden"):  # an increase needs the zero before the first
            self.denied.labels(code)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request with its answer."""
        self.latency.labels(route, str(status)).observe(seconds, exemplar("request_id"))


class Metrics(RequestMetrics):
    """Of a service of scores, besides: feature age, degraded share and the model that serves."""

    def __init__(self) -> None:
        super().__init__()
        of = self.registry
        self.features = Histogram(
            "convergence_features_seconds", "Reading states and computing features", buckets=_SECONDS, registry=of
        )
        self.model = Histogram("convergence_model_seconds", "Scoring", buckets=_SECONDS, registry=of)
        self.reasons = Histogram("convergence_reasons_seconds", "Explaining scores", buckets=_SECONDS, registry=of)
        self.trial = Counter(
            "convergence_canary_requests", "Who was asked and what came of it",
            ["experiment", "variant", "outcome"], registry=of,
        )  # fmt: skip
        self.trial_seconds = Histogram(
            "convergence_canary_seconds", "Until the one who was asked had answered", ["variant"], buckets=_SECONDS,
            registry=of,
        )  # fmt: skip
        self.challenger_refused = Gauge(
            "convergence_challenger_refused", "1 while the champion answers for a challenger that cannot", registry=of
        )
        self.unrecorded = Gauge(
            "convergence_canary_verdict_unrecorded", "1 while the end of a canary is not on record", registry=of
        )
        self.unlogged = Counter(
            "convergence_exposure_log_lost", "Exposures that could not be logged", registry=of
        )  # fmt: skip
        self.rows = Counter("convergence_rows", "Rows answered, by whether on defaults", ["degraded"], registry=of)
        self.feature_age = Gauge(
            "convergence_feature_age_seconds", "Since the newest event in the online state", registry=of
        )
        self.lost = Counter("convergence_served_log_lost", "Served rows that could not be logged", registry=of)
        self.serving = Gauge(
            "convergence_model_serving",
            "1 for the model that answers",
            ["model_version", "release", "run_id"],
            registry=of,
        )
        self.trying = Gauge(
            "convergence_canary_share", "Of the requests that a challenger answers", ["model_version"], registry=of
        )
        self.refused = Gauge("convergence_release_refused", "1 while the newest release does not serve", registry=of)

        for value in ("true", "false"):  # a share needs the zero before the first
            self.rows.labels(value)

    def told(self, release: Release | None, run_id: str | None, *, refused: bool) -> None:
        """Which release serves now, and the run that made its model."""
        self.serving.clear()
        self.trying.clear()
        if release is not None:
            self.serving.labels(release.model_version, str(release.number), run_id or "unknown").set(1)
        if release is not None and release.canary:
            self.trying.labels(release.canary["model_version"]).set(release.canary["share"])
        self.refused.set(refused)


def scraped(registry: CollectorRegistry, accept: str) -> Response:
    """Metrics for Prometheus; as OpenMetrics, with exemplars, where the Accept header asks for that."""
    try:
        encode, form = choose_encoder(accept)
    except TypeError:  # it compares the numbers of a version, and this one has words
        encode, form = choose_encoder("")
    return Response(encode(registry), media_type=form)


@contextmanager
def timed(histogram: Histogram, of: str) -> Iterator[None]:
    """What is done within, with an exemplar of the bound id `of`."""
    began = perf_counter()
    yield
    histogram.observe(perf_counter() - began, exemplar(of))
