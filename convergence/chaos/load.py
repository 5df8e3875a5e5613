"""What a trial sends, and which table each message belongs in.

The judgement is a few lines of plain Python over the plan; nothing of the platform that is under test takes part in it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from convergence.arrivals.producer import POISON, Disorder, plan
from convergence.arrivals.topics import ARRIVED, Topic

DATA, LATE, REJECTED = "data", "late", "rejected"
LARGEST = 900_000  # bytes; a broker takes a million

_DAYS = (1, 4)
_SECONDS = (3.0, 10.0)  # that sending shall take, so that landing and faults meet it

# Arrival after the event: just inside and just outside of what is late, and of what is a clock that goes wrong.
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Send:
    """Messages [first, end) of the plan by a producer of their own; in a transaction if it is to be ended somehow."""

    first: int
    end: int
    transaction: str = ""  # "commit", "abort" or none


def thrice(number: int, rng: np.random.Generator) -> tuple[Send, ...]:
    """Everything, and two parts of it twice more, as of a producer that has forgotten what was acknowledged."""
    first, end = sorted(int(n) for n in rng.choice(number + 1, 2, replace=False))
    return Send(0, end), Send(first, end), Send(first, number)


def transactions(number: int, rng: np.random.Generator) -> tuple[Send, ...]:
    """Parts in turn aborted and sent again, committed, and sent without a transaction."""
    cuts = [0, *sorted(int(n) for n in rng.choice(np.arange(1, number), 4, replace=False)), number]
    parts = [Send(first, end) for first, end in pairwise(cuts)]
    aborted, committed = (replace(parts[n], transaction=how) for n, how in ((1, "abort"), (3, "commit")))
    return parts[0], aborted, parts[1], parts[2], committed, parts[4], replace(parts[4], transaction="abort")


def restarts(number: int, rng: np.random.Generator) -> tuple[Send, ...]:
    """One producer or several, each of which may send again the last messages of the one before."""
    cuts = sorted(int(n) for n in rng.choice(np.arange(1, number), rng.integers(0, 2, endpoint=True), replace=False))
    again = [int(rng.integers(0, min(cut, 100))) for cut in cuts]
    firsts = [0, *(cut - back for cut, back in zip(cuts, again, strict=True))]
    return tuple(Send(first, end) for first, end in zip(firsts, [*cuts, number], strict=True))


@dataclass(frozen=True)
class Load:
    """The messages of a trial (columns of PLAN and `belongs`), how they are sent, and how they are landed."""

    planned: pl.DataFrame
    sends: tuple[Send, ...]
    partitions: int
    per_second: float
    batch_rows: int
    every: float  # seconds of a group commit


@dataclass(frozen=True)
class Mix:
    """What is special about the messages of a case."""

    duplicates: float = 0.1  # at most
    late: float = 0.1
    poison: float = 0.05
    messages: tuple[int, int] = (400, 1200)
    batch_rows: tuple[int, int] = (30, 300)
    edges: bool = False  # messages that are late, early or large by a hair
    sends: Callable[[int, np.random.Generator], tuple[Send, ...]] = restarts


def load_of(topic: Topic, history: pl.DataFrame, mix: Mix, seed: int) -> Load:
    """The load of a seed: equal arguments give an equal load. `history` in the order of the topic's clock."""
    rng = np.random.default_rng([seed, 1])
    days = int(rng.integers(*_DAYS, endpoint=True))
    per_day = history.height // ((topic.last_day - topic.first_day).days + 1)
    first = int(rng.integers(0, history.height - days * per_day))
    number = int(rng.integers(*mix.messages))
    rows = np.sort(rng.choice(days * per_day, min(number, days * per_day), replace=False)) + first
    duplicates, late, poison = (float(rng.uniform(0, most)) for most in (mix.duplicates, mix.late, mix.poison))
    planned = plan(topic, history[rows], Disorder(duplicates, late, poison, seed=seed))
    planned = planned.with_columns(pl.Series("value", values(topic, planned, edges=mix.edges), pl.Binary))
    judged = [belongs(topic, kind, value) for kind, value in planned.select("kind", "value").iter_rows()]
    return Load(
        planned=planned.with_columns(pl.Series("belongs", judged, pl.String)),
        sends=mix.sends(planned.height, rng),
        partitions=int(rng.integers(1, 4, endpoint=True)),
        per_second=planned.height / rng.uniform(*_SECONDS),
        batch_rows=int(rng.integers(*mix.batch_rows)),
        every=float(rng.uniform(0.1, 0.6)),
    )


def belongs(topic: Topic, kind: str, value: bytes) -> str:
    """The one table that a message belongs in, from how it was made and, if it can be used, what it says."""
    if kind == POISON:
        return REJECTED
    said = json.loads(value)
    delay = _time(said[topic.original(ARRIVED)]) - _time(said[topic.clock])
    if -delay > topic.clock_skew:
        return REJECTED
    return LATE if delay > topic.late_after else DATA


def row_of(topic: Topic, value: bytes) -> dict[str, Any]:
    """The row that a usable message has to become: values by column; times as datetime, UTC."""
    said = {topic.renames.get(name, name): content for name, content in json.loads(value).items()}
    said |= {name: _time(said[name]) for name in ("event_time", ARRIVED)}
    return said | {"event_date": said["event_time"].date()}


def values(topic: Topic, planned: pl.DataFrame, *, edges: bool) -> list[bytes]:
    """The planned values; with `edges`, some moved to just inside or outside of a limit, and one made large."""
    found = planned["value"].to_list()
    if not edges:
        return found
    limits = (topic.late_after, -topic.clock_skew)
    delays = [limit + by for limit in limits for by in (-_TICK, timedelta(0), _TICK, timedelta(hours=1))]
    usable = [n for n, kind in enumerate(planned["kind"]) if kind != POISON]
    for number, delay in zip(usable[:: max(1, len(usable) // len(delays))], delays, strict=False):
        said = json.loads(found[number])
        said[topic.original(ARRIVED)] = (_time(said[topic.clock]) + delay).isoformat()
        found[number] = json.dumps(said).encode()
    large = {"padding": "\N{GRINNING FACE}" * (LARGEST // 12)}  # JSON writes it as twelve characters
    found[usable[-1]] = json.dumps(json.loads(found[usable[-1]]) | large).encode()
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def described(load: Load) -> Mapping[str, Any]:
    """The load in figures, for the trial's record."""
    kinds = dict(load.planned["kind"].cast(pl.String).value_counts(sort=True).iter_rows())
    sends = [f"{s.first}-{s.end}{f' {s.transaction}' if s.transaction else ''}" for s in load.sends]
    return {
        "kinds": kinds, "sends": sends, "partitions": load.partitions, "per_second": round(load.per_second),
        "batch_rows": load.batch_rows, "every": round(load.every, 2),
    }  # fmt: skip
