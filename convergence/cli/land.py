"""`convergence land`: the lander as a process of its own, for arrivals that shall not wait for a run."""

import os
import signal
import socket
import time
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import click

from convergence.errors import SettingsError

if TYPE_CHECKING:
    import dagster as dg

    from convergence.arrivals.lander import Landed
    from convergence.arrivals.topics import Topic
    from convergence.lake.tables import Lake

REPORT_SECONDS = 60.0  # between two materializations of one partition in Dagster


@click.command()
@click.argument("topic")
@click.option("--until-caught-up", is_flag=True, help="Stop when everything that is there has landed.")
@click.option(
    "--every",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds of arrivals in a commit.",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=250_000,
    show_default=True,
    help="Messages at which a commit does not wait any longer.",
)
@click.option("--bootstrap", help="Kafka's address; default: CONVERGENCE_KAFKA.")
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics on loopback: lag, rate, counts."
)
@click.option("--accept-loss", is_flag=True, help="Go on behind messages that are gone, and record it in the manifest.")
def land(
    topic: str,
    *,
    until_caught_up: bool,
    every: float,
    rows: int,
    bootstrap: str | None,
    metrics_port: int | None,
    accept_loss: bool,
) -> None:
    """Land TOPIC from Kafka continuously, each message exactly once, and report it to Dagster."""
    from convergence.arrivals.kafka import Kafka
    from convergence.arrivals.lander import follow
    from convergence.cli import instance, kafka_address, lake, topic_named
    from resources.arrivals import CONTINUOUS, provenance

    wanted = topic_named(topic)
    kafka, into = Kafka(kafka_address(bootstrap)), lake()
    kafka.require(wanted)
    made = provenance(wanted, kafka, f"{CONTINUOUS}{socket.gethostname()}/{os.getpid()}")
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stopped.append(received))
    progress = Progress(wanted.name, metrics_port)
    begin = partial(follow, rows=rows, seconds=every, until_caught_up=until_caught_up, accept_loss=accept_loss)
    switched = True
    with instance() as dagster:
        while switched:  # a rebuild has put a new generation of the tables in place: go on in that one
            into = into.newest()
            with Reporter(dagster, into, wanted, kafka.name) as reporter:
                switched = _land(begin(into, wanted, kafka, made), into, reporter, progress, stopped)
    progress.close()


def _land(
    landings: "Generator[tuple[Landed, int], None, None]",
    into: "Lake",
    reporter: "Reporter",
    progress: "Progress",
    stopped: list[int],
) -> bool:
    """Land until it ends or is stopped; True if another generation of the tables counts now."""
    with closing(landings):
        for done, lag in landings:
            reporter.add(done.days)
            progress.update(done, lag)
            if stopped:
                return False
            if into.newest() is not into:
                return True
    return False


class Reporter:
    """Tells Dagster of landed partitions, each at most once in REPORT_SECONDS, without holding up the landing."""

    def __init__(self, instance: "dg.DagsterInstance", lake: "Lake", topic: "Topic", source: str) -> None:
        self._report = partial(_report, instance, lake, topic, source)
        self._days: set[str] = set()
        self._worker = ThreadPoolExecutor(max_workers=1)
        self._running: Future[None] | None = None
        self._next = time.monotonic() + REPORT_SECONDS

    def __enter__(self) -> "Reporter":
        return self

    def add(self, days: Iterable[str]) -> None:
        """Partitions that have just been added to."""
        self._days |= set(days)
        due = time.monotonic() >= self._next
        if due and self._days and (self._running is None or self._running.done()):
            self._send()
            self._next = time.monotonic() + REPORT_SECONDS

    def _send(self) -> None:
        if self._running:
            self._running.result()  # a report that failed stops the lander: Dagster must not silently fall behind
        self._running = self._worker.submit(self._report, sorted(self._days))
        self._days = set()

    def __exit__(self, *_: object) -> None:
        if self._days:
            self._send()
        self._worker.shutdown()
        if self._running:
            self._running.result()


def _report(instance: "dg.DagsterInstance", lake: "Lake", topic: "Topic", source: str, days: list[str]) -> None:
    from resources.arrivals import report_landed

    report_landed(instance, lake, topic, days, source)


class Progress:
    """Lag, rate and counts: a line every ten seconds while there is something to tell, and Prometheus metrics."""

    def __init__(self, topic: str, port: int | None) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

        from convergence.arrivals.lander import Landed

        registry, by = CollectorRegistry(), ["topic"]
        self._messages = {
            kind: Counter(f"convergence_{kind}_messages", f"Messages {kind} since the start", by, registry=registry)
            for kind in ("landed", "late", "rejected")
        }
        self._lag = Gauge("convergence_lag_messages", "Messages in the log that have not landed", by, registry=registry)
        self._rate = Gauge("convergence_landed_per_second", "Messages landed per second, lately", by, registry=registry)
        self._topic = topic
        if port is not None:
            try:
                start_http_server(port, "127.0.0.1", registry)
            except OSError as error:
                raise SettingsError(f"port {port} is taken: choose another with --metrics-port") from error
        self._began = self._told = time.monotonic()
        self._done, self._shown = Landed(), 0  # in all, and messages in the last line

    def update(self, done: "Landed", lag: int) -> None:
        """After a landing."""
        for kind, count in (("landed", done.messages), ("late", done.late), ("rejected", done.rejected)):
            self._messages[kind].labels(self._topic).inc(count)
        self._lag.labels(self._topic).set(lag)
        self._done += done
        elapsed = time.monotonic() - self._told
        if elapsed >= 10:
            new = self._done.messages - self._shown
            self._rate.labels(self._topic).set(new / elapsed)
            if new or lag:
                click.echo(f"{self._topic}: {self._done.messages:,} landed, {new / elapsed:,.0f}/s, lag {lag:,}")
            self._shown, self._told = self._done.messages, time.monotonic()

    def close(self) -> None:
        """The closing line."""
        seconds = time.monotonic() - self._began
        apart = f"{self._done.late:,} of them late, {self._done.rejected:,} rejected"
        apart += f", {self._done.erased:,} left out: their subjects were erased" if self._done.erased else ""
        click.echo(f"{self._topic}: {self._done.messages:,} messages landed in {seconds:.1f} s, {apart}")
        if self._done.rejected:
            click.echo(f"Next: `convergence rejected list {self._topic}` says why")
        elif self._done.messages:
            click.echo("Next: `make ui`: the reconcile sensor rebuilds what depends on them")
