"""`convergence replay`: history played as it would have arrived, into a drop folder or a Kafka topic."""

from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convergence.cli.files import FileToWrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convergence.arrivals.topics import Topic

_KAFKA_ONLY = ("rate", "duplicates", "late", "poison", "shift", "seed", "partitions", "bootstrap", "ledger")
_LINE_SECONDS = 10  # between two lines of progress where there is no terminal


class Days(click.ParamType):
    """A..B, both included."""

    name = "A..B"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[date, date]:
        """First and last date."""
        try:
            first, last = (date.fromisoformat(part) for part in value.split(".."))
        except ValueError:
            self.fail(f"{value!r} is not A..B with dates like 2018-04-01..2018-08-31", param, ctx)
        return first, last


class Factor(click.ParamType):
    """feature=factor."""

    name = "FEATURE=FACTOR"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Column and factor."""
        feature, _, factor = value.partition("=")
        try:
            return feature, float(factor)
        except ValueError:
            self.fail(f"{value!r} is not like amount=3", param, ctx)


_SHARE = click.FloatRange(0, 1)


@click.command()
@click.argument("topic")
@click.option("--days", required=True, type=Days(), help="First and last event date, e.g. 2018-04-01..2018-08-31.")
@click.option("--to", type=click.Choice(["inbox", "kafka"]), default="inbox", show_default=True)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    help="inbox: times faster than the events; default: at once.",
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="kafka: messages a second; default: all.")
@click.option("--duplicates", type=_SHARE, default=0.0, help="kafka: share of the messages that are sent twice.")
@click.option("--late", type=_SHARE, default=0.0, help="kafka: share that arrives 1 to 72 hours later.")
@click.option("--poison", type=_SHARE, default=0.0, help="kafka: unusable messages in addition, as a share.")
@click.option("--shift", type=Factor(), multiple=True, help="kafka: multiply a column; may be repeated.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="kafka: which messages these are; default: 0.")
@click.option(
    "--partitions", type=click.IntRange(min=1), default=3, help="kafka: of a topic not yet there; default: 3."
)
@click.option("--bootstrap", metavar="HOST:PORT", help="kafka: default: CONVERGENCE_KAFKA.")
@click.option("--ledger", type=FileToWrite(), help="kafka: Parquet file of what was sent.")
@click.pass_context
def replay(ctx: click.Context, topic: str, days: tuple[date, date], to: str, **how: object) -> None:
    """Play the history of TOPIC in order of arrival, deterministically: equal arguments send equal messages.

    Into its drop folder, a file a day; or to Kafka, a message an event, with a ledger of what was acknowledged.
    """
    from convergence.cli import topic_named

    given = [n for n in how if ctx.get_parameter_source(n) is not click.core.ParameterSource.DEFAULT]
    theirs = {name: value for name, value in how.items() if (name in _KAFKA_ONLY) == (to == "kafka")}
    if foreign := [name for name in given if name not in theirs]:
        raise click.UsageError(f"--{foreign[0]} does not go with --to {to}")
    play: Callable[..., None] = _to_kafka if to == "kafka" else _to_inbox
    play(topic_named(topic), *days, **theirs)


def _to_inbox(topic: "Topic", first: date, last: date, *, speed: float | None) -> None:
    from rich.progress import track

    from convergence.arrivals.replay import replay as play
    from resources.environments import settings

    here = settings()
    played = play(topic, here.published_data, here.home / "inbox", first, last, speed)
    sent = [*track(played, f"replaying {topic.name}", total=(last - first).days + 1)]
    where = here.home / "inbox" / topic.name
    click.echo(f"{sum(n for _, n, _ in sent)} messages of {len(sent)} days in {where}; {sent[0][2]}")
    click.echo("Next: `make ui`: the arrival sensor lands them; or `make demo`")


def _to_kafka(
    topic: "Topic",
    first: date,
    last: date,
    *,
    rate: float | None,
    duplicates: float,
    late: float,
    poison: float,
    shift: tuple[tuple[str, float], ...],
    seed: int,
    partitions: int,
    bootstrap: str | None,
    ledger: Path | None,
) -> None:
    from convergence.arrivals.producer import Disorder, plan, send
    from convergence.arrivals.replay import history_of
    from convergence.cli import kafka_address
    from convergence.services.topics import create_topic
    from resources.environments import settings

    here = settings()
    address = kafka_address(bootstrap)
    history, origin = history_of(topic, here.published_data, first, last)
    planned = plan(topic, history, Disorder(duplicates, late, poison, dict(shift), seed))
    create_topic(address, topic.name, partitions)
    now = datetime.now(UTC)
    ledger = ledger or here.home / "ledgers" / f"{topic.name}-{seed}-{now:%Y%m%dT%H%M%SZ}.parquet"
    with _progress(f"replaying {topic.name}", planned.height) as progress:
        sent = send(
            planned, bootstrap=address, topic=topic.name, ledger=ledger, origin=origin, rate=rate, progress=progress
        )
    seconds = (datetime.now(UTC) - now).total_seconds()
    kinds = dict(sent["kind"].value_counts(sort=True).iter_rows())
    counts = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
    click.echo(f"{sent.height:,} messages in {seconds:.1f} s ({sent.height / seconds:,.0f}/s): {counts}; {origin}")
    click.echo(f"Ledger: {ledger}")
    click.echo(f"Next: `convergence land {topic.name} --until-caught-up`; or `make ui`: the arrival sensor lands them")


@contextmanager
def _progress(what: str, total: int) -> "Iterator[Callable[[int], None]]":
    """A bar on a terminal, a line now and then elsewhere."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if Console().is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    due = time.monotonic() + _LINE_SECONDS

    def line(done: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            click.echo(f"{what}: {done} of {total}")
            due = time.monotonic() + _LINE_SECONDS

    yield line
