"""What a thousand small commits do to the next one, and to whoever reads the table afterwards."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks.data import roomiest
from benchmarks.measure import Row, Section, alternately, compare, ratio
from benchmarks.stream import Small, frames, stream
from convergence.arrivals.codecs import BROKEN, OFFSET, Messages
from convergence.arrivals.lander import COMPACT_AFTER, Lander, follow
from convergence.arrivals.topics import Arrived, NextOffset, Span, Topic
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake, by_day
from convergence_assets.governance.upkeep import keep_up

DAY = timedelta(hours=23)
ROWS = 1_000  # messages of a commit
EDGE = 100  # commits at either end whose medians are compared
TOPIC = stream(Small)
MADE = Provenance("bench", "1")


class Trickle:
    """A stream in memory, so that nothing but landing is measured: `commits` batches of one day."""

    name = "memory"

    def __init__(self, commits: int) -> None:
        (day,) = frames(commits * ROWS, Small, span=DAY, chunk=commits * ROWS)
        self.rows = day.with_columns(pl.int_range(pl.len()).alias(OFFSET))
        self.commits = commits

    def offered(self, topic: Topic, landed: NextOffset) -> Sequence[Span]:
        return [Span("memory/0", 0, self.commits * ROWS, "benchmark")]

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        return self.follow(topic, landed, rows, 0)

    def follow(self, topic: Topic, landed: NextOffset, rows: int, seconds: float) -> Iterator[list[Arrived]]:
        for start in range(0, self.commits * ROWS, ROWS):
            messages = Messages(self.rows.slice(start, ROWS), pl.DataFrame(schema=BROKEN))
            span = Span("memory/0", start, start + ROWS, "benchmark")
            yield [Arrived(span, lambda messages=messages: messages)]


def continuously(lake: Lake, trickle: Trickle) -> Iterator[object]:
    """As `convergence land` does it, small files merged on the way."""
    return follow(lake, TOPIC, trickle, MADE)


def unmerged(lake: Lake, trickle: Trickle) -> Iterator[object]:
    """The same commits, and the files stay as they are."""
    lander = Lander(lake, TOPIC, MADE)
    return map(lander.land, trickle.batches(TOPIC, lander.landed, ROWS))


def seconds_each(landings: Iterator[object]) -> list[float]:
    """Wall seconds from commit to commit."""
    times, before = [], time.perf_counter()
    for _ in landings:
        now = time.perf_counter()
        times.append(now - before)
        before = now
    return times


def read(lake: Lake) -> pl.DataFrame:
    """Open the table and read every column."""
    return lake.scan(TOPIC.table).select(pl.len(), pl.all().max()).collect()


def section(*, quick: bool) -> Section:
    commits = 300 if quick else 1_000
    trickle = Trickle(commits)
    with tempfile.TemporaryDirectory(dir=roomiest(), prefix="bench-") as scratch:
        merged, left, fresh = (Lake(str(Path(scratch, name))) for name in ("merged", "left", "fresh"))
        began = time.perf_counter()
        growth = _growth("merged on the way", seconds_each(continuously(merged, trickle)), at_most=2.0)
        took = time.perf_counter() - began
        contrast = _growth("never merged", seconds_each(unmerged(left, trickle)))
        keep_up(merged)
        rows = merged.scan(TOPIC.table).collect()
        fresh.replace(TOPIC.table, by_day(rows), {}, None)
        expected = read(fresh)
        assert expected["len"].item() == commits * ROWS, "not every message became a row"
        assert all(read(lake).equals(expected) for lake in (merged, left)), "the tables hold different rows"
        works = [partial(read, lake) for lake in (merged, left, fresh)]
        mine, unmaintained, reference = alternately(5 if quick else 15, *works)
    return Section(
        f"{commits:,} commits of {ROWS:,} messages into one day",
        "The lander on a stream in memory, every batch a commit, as `convergence land` does it: small files are merged "
        f"every {COMPACT_AFTER} commits ({took:.0f} s in all, merging included). Growth: the median time from commit "
        f"to commit of the last {EDGE} against that of the first {EDGE}. Reading: open the table and take the maximum "
        "of every column, after the maintenance asset, against a table with the same rows written at once (checked).",
        [
            growth,
            contrast,
            compare("reading, after maintenance", mine, reference, at_most=1.3),
            compare("reading, never merged", unmaintained, reference),
        ],
    )


def _growth(case: str, seconds: list[float], at_most: float | None = None) -> Row:
    first, last = seconds[1 : EDGE + 1], seconds[-EDGE:]  # the very first makes the table
    found = ratio(last, first)
    shown_last, shown_first = (f"{median(part) * 1000:.1f} ms" for part in (last, first))
    goal, met = ("", None) if at_most is None else (f"≤ {at_most:g} (wall)", found <= at_most)
    return Row(f"commits, {case}: last {EDGE}, first {EDGE}", shown_last, shown_first, f"{found:.2f}", "", goal, met)
