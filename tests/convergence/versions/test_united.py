"""The view of this moment equals a full recomputation, wherever the batch, the lander and the producers have got to."""

from collections.abc import Sequence
from datetime import date
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals.codecs import CODECS
from convergence.arrivals.lander import land
from convergence.arrivals.topics import Arrived, NextOffset, Span, Topic
from convergence.lake.manifests import InputRead, Provenance, build_manifest, states
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from convergence.versions.united import United, united
from convergence_assets.fraud.arrivals import TOPIC
from convergence_assets.fraud.datasets import transaction_rows
from tests.convergence.arrivals.logs import kafka_of, new_topic, produce
from tests.convergence_assets.fraud.worlds import messages

TABLE = "fraud/transactions"
MADE = Provenance("run", "1")
DAYS = [f"2018-04-{day:02}" for day in range(1, 9)]
SIX = messages(customers=6, terminals=12, days=len(DAYS), radius=60.0)


@cache
def log() -> Sequence[bytes]:
    """Events out of order, some of them twice and some corrected later."""
    shuffled = SIX.sample(fraction=1, shuffle=True, seed=1)
    corrected = SIX.sample(fraction=0.1, seed=2).with_columns(TX_AMOUNT=pl.col("TX_AMOUNT") + 1)
    arrived = (pl.col("TX_DATETIME") + pl.duration(hours=3)).dt.to_string("iso").alias("arrived_at")
    texts = [frame.write_ndjson().splitlines() for frame in (shuffled, corrected.with_columns(arrived))]
    repeats = SIX.sample(fraction=0.1, seed=3).write_ndjson().splitlines()
    return [text.encode() for part in (*texts, repeats) for text in part]


class Log:
    """A topic that holds the first `size` messages."""

    name = "a log"

    def __init__(self, size: int) -> None:
        self.size = size

    def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
        return [Span("log/0", landed("log/0") or 0, self.size, "a log")]

    def batches(self, topic: Topic, landed: NextOffset, rows: int):
        (span,) = self.offered(topic, landed)
        if span.start < span.end:
            values, offsets = log()[span.start : span.end], range(span.start, span.end)
            yield [Arrived(span, partial(CODECS["json"], values, offsets, topic.columns))]


def make_batch(lake: Lake, days: Sequence[str]) -> None:
    """The dataset of some days from what has landed, as its asset commits it."""
    held = states(lake, [TOPIC.table])[TOPIC.table]
    if not (days := [day for day in days if day in held]):
        return
    made = {day: transaction_rows(lake.scan(TOPIC.table, [day])).collect() for day in days}
    inputs = {TOPIC.table: InputRead(1, {day: state.content_hash for day, state in held.items()})}
    provenance = Provenance("run", "1", inputs=inputs, reads={day: {TOPIC.table: [day]} for day in days})
    lake.replace(TABLE, made, build_manifest(made, "replace", provenance), lake.open(TABLE))


def recomputed(folder: str, size: int, days: Sequence[str]) -> pl.DataFrame:
    """The rows of these days from a lake in which everything has landed."""
    lake = Lake(f"{folder}/scratch")
    land(lake, TOPIC, Log(size), MADE)
    wanted = [date.fromisoformat(day) for day in days]
    return transaction_rows(lake.scan(TOPIC.table).filter(pl.col("event_date").is_in(wanted))).collect()


def same(found: United, expected: pl.DataFrame) -> bool:
    if expected.is_empty():
        return found.rows.is_empty()
    order = ["event_date", "transaction_id"]
    return found.rows.select(expected.columns).sort(order).equals(expected.sort(order))


def view(lake: Lake, size: int, days: Sequence[str] = DAYS) -> United:
    return united(lake, TOPIC, [Log(size)], TABLE, transaction_rows, days)


CUTS = st.lists(st.integers(1, len(SIX) + 1), min_size=3, max_size=3).map(sorted)


@settings(deadline=None, max_examples=8)
@given(CUTS, st.sets(st.sampled_from(DAYS)), st.sets(st.sampled_from(DAYS), min_size=1))
def test_at_any_cut_the_view_equals_a_full_recomputation(cuts: list[int], batched: set[str], asked: set[str]) -> None:
    batch, landed, there = cuts
    days = sorted(asked)
    with TemporaryDirectory() as folder:
        lake = Lake(f"{folder}/lake")
        land(lake, TOPIC, Log(batch), MADE)
        make_batch(lake, sorted(batched))
        land(lake, TOPIC, Log(landed), MADE)
        found = view(lake, there, days)
        assert same(found, recomputed(folder, there, days))
    assert found.unlanded == there - landed
    assert not set(found.from_batch) & set(found.derived)
    assert set(found.from_batch) <= batched


def test_a_batch_of_everything_is_read_as_it_is(lake: Lake) -> None:
    land(lake, TOPIC, Log(len(log())), MADE)
    make_batch(lake, DAYS)
    found = view(lake, len(log()))
    assert (found.from_batch, found.derived, found.unlanded) == (DAYS, [], 0)


def test_only_the_days_that_something_came_for_are_derived_again(lake: Lake, tmp_path: Path) -> None:
    land(lake, TOPIC, Log(len(log()) - 1), MADE)
    make_batch(lake, DAYS)
    found = view(lake, len(log()))
    assert (len(found.from_batch), len(found.derived), found.unlanded) == (len(DAYS) - 1, 1, 1)
    assert same(found, recomputed(str(tmp_path), len(log()), DAYS))


def test_a_lake_without_anything_and_a_topic_without_messages_give_no_rows(lake: Lake) -> None:
    assert view(lake, 0).rows.is_empty()


def test_messages_that_land_while_the_view_reads_are_in_it_once(lake: Lake, tmp_path: Path) -> None:
    size = len(log())
    land(lake, TOPIC, Log(10), MADE)

    class Racing(Log):
        def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
            land(lake, TOPIC, Log(size - 5), MADE)
            return super().offered(topic, landed)

    found = united(lake, TOPIC, [Racing(size)], TABLE, transaction_rows, DAYS)
    assert found.unlanded == size - 10
    assert same(found, recomputed(str(tmp_path), size, DAYS))


def test_the_view_reads_what_still_waits_in_kafka(lake: Lake, kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = new_topic(kafka, **{name: getattr(TOPIC, name) for name in TOPIC.__dataclass_fields__ if name != "name"})
    produce(kafka, topic, log()[:40])
    land(lake, topic, kafka_of(kafka), MADE)
    make_batch(lake, DAYS)
    produce(kafka, topic, log()[40:])
    found = united(lake, topic, [kafka_of(kafka)], TABLE, transaction_rows, DAYS)
    assert found.unlanded == len(log()) - 40
    assert same(found, recomputed(str(tmp_path), len(log()), DAYS))
