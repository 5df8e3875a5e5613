"""The checker finds what is wrong: each way of losing, doubling or tearing, done on purpose, is reported as such."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from convergence.arrivals.lander import land
from convergence.arrivals.topics import Topic
from convergence.chaos.checker import Evidence, check, counts
from convergence.chaos.load import DATA, LATE, REJECTED
from convergence.lake.maintenance import compact
from convergence.lake.tables import Lake
from convergence_assets.fraud.arrivals import TOPIC
from tests.convergence.chaos.evidence import Log, file_of, landed, load, rewrite

Change = Callable[[pl.DataFrame], pl.DataFrame]


def said(evidence: Evidence) -> str:
    return "\n".join(f"{finding.kind}: {finding.what}" for finding in check(evidence))


def test_a_landing_without_faults_has_no_findings_and_every_table_has_rows(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    assert check(evidence) == []
    assert all(file_of(evidence.table(where)) for where in (DATA, LATE, REJECTED))
    assert set(load().planned["belongs"]) == {DATA, LATE, REJECTED}


def test_small_files_that_are_merged_change_nothing(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    assert compact(Lake(str(evidence.lake)), TOPIC.table) > 0
    assert check(evidence) == []


@pytest.mark.parametrize("where", [DATA, LATE, REJECTED])
def test_a_row_that_is_removed_is_lost(where: str, tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    rewrite(evidence.table(where), lambda rows: rows[1:])
    assert counts(check(evidence))["lost"] == 1
    assert "manifest and files differ" in said(evidence)


@pytest.mark.parametrize("where", [DATA, LATE, REJECTED])
def test_a_row_that_is_there_twice_is_doubled(where: str, tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    rewrite(evidence.table(where), lambda rows: pl.concat([rows, rows[:1]]))
    assert counts(check(evidence))["doubled"] == 1


def test_a_row_for_which_there_is_no_message_is_doubled(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    beyond = pl.col("offset") + 1_000_000
    rewrite(evidence.table(DATA), lambda rows: pl.concat([rows, rows[:1].with_columns(beyond)]))
    assert counts(check(evidence))["doubled"] == 1
    assert "where no message is" in said(evidence)


def test_a_row_in_another_table_is_torn(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    moved = rewrite(evidence.table(LATE), lambda rows: rows[1:])[:1]
    rewrite(evidence.table(DATA), lambda rows: pl.concat([rows, moved.select(rows.columns)]))
    found = counts(check(evidence))
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert "belongs in late and is in data" in said(evidence)


def test_a_row_in_two_tables_is_doubled(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    copied = rewrite(evidence.table(LATE), lambda rows: rows)[:1]
    rewrite(evidence.table(DATA), lambda rows: pl.concat([rows, copied.select(rows.columns)]))
    assert counts(check(evidence))["doubled"] == 1


@pytest.mark.parametrize(
    ("where", "column", "change"),
    [
        (DATA, "amount", pl.col("amount") + 0.01),
        (DATA, "event_time", pl.col("event_time") + timedelta(microseconds=1)),
        (DATA, "arrived_at", pl.col("event_time") - timedelta(seconds=1)),
        (LATE, "customer_id", pl.col("customer_id") + 1),
        (REJECTED, "row", pl.lit("something else")),
        (REJECTED, "reason", pl.lit("")),
    ],
    ids=["amount", "event time", "arrival", "late customer", "rejected text", "no reason"],
)
def test_a_value_that_is_altered_is_torn(where: str, column: str, change: pl.Expr, tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    rewrite(evidence.table(where), lambda rows: pl.concat([rows[:1].with_columns(change.alias(column)), rows[1:]]))
    found = counts(check(evidence))
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert f"differs from its message in {column}" in said(evidence)


def test_rows_that_change_places_are_torn(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    rewrite(evidence.table(DATA), lambda rows: rows.with_columns(pl.col("offset").reverse()))
    assert counts(check(evidence))["torn"] > 2


def test_a_limit_that_is_off_by_an_hour_is_torn(tmp_path: Path) -> None:
    evidence = landed(tmp_path, replace(TOPIC, late_after=TOPIC.late_after - timedelta(hours=1)))
    assert counts(check(evidence))["lost"] == 0
    assert "belongs in data and is in late" in said(evidence)


def test_a_file_that_disappears_from_the_log_is_lost_and_torn(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    entry = max((evidence.table(DATA) / "_delta_log").glob("*.json"))
    lines = entry.read_text().splitlines()
    entry.write_text("\n".join(line for line in lines if not line.startswith('{"add"')))
    found = counts(check(evidence))
    assert found["lost"] > 0
    assert found["torn"] > 0


def test_an_offset_that_says_more_than_the_rows_is_torn(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    entry = max((evidence.table(DATA) / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    for action in actions:
        if "txn" in action:
            action["txn"]["version"] += 1
    entry.write_text("\n".join(map(json.dumps, actions)))
    assert counts(check(evidence)) == {"lost": 0, "doubled": 0, "torn": 1}


def test_a_commit_that_is_recorded_twice_is_torn(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    rewrite(evidence.lake / "_manifests", lambda rows: pl.concat([rows, rows[:1]]))
    assert "_manifests has 2 records" in said(evidence)


def test_what_was_acknowledged_and_is_not_in_the_topic_is_lost(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    newest = evidence.ledger[-1:].with_columns(pl.col("offset") + 1)
    assert "acknowledged at" in said(replace(evidence, ledger=pl.concat([evidence.ledger, newest])))


def test_messages_of_one_producer_out_of_order_are_torn(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    assert "sent earlier" in said(replace(evidence, ledger=evidence.ledger.reverse()))


def test_a_message_that_nobody_sent_is_torn(tmp_path: Path) -> None:
    evidence = landed(tmp_path)
    known = {"planned": evidence.planned[1:], "ledger": evidence.ledger.filter(pl.col("sequence") > 0)}
    assert "nobody sent" in said(replace(evidence, **known))


# The lander without its guard


class Died(Exception):
    """As if the process had been killed."""


def unguarded(monkeypatch: pytest.MonkeyPatch, dies_at: int, *, offsets_first: bool) -> Callable[..., object]:
    """A lander that commits rows and offsets apart, dies between the two at its n-th commit, and is started again."""
    append, commits = Lake.append, [0]

    def apart(
        lake: Lake,
        table: str,
        frame: pl.DataFrame,
        manifest: Mapping[str, Any],
        consumed: Mapping[str, int],
        base: Any,
        *,
        dated: bool,
    ) -> None:
        if table.startswith("_"):
            return append(lake, table, frame, manifest, consumed, base, dated=dated)
        commits[0] += 1
        parts = [(frame, {}), (frame.clear(), consumed)]
        for rows, offsets in reversed(parts) if offsets_first else parts:
            append(lake, table, rows, {**manifest, "partitions": {}}, offsets, lake.open(table), dated=dated)
            if commits[0] == dies_at:
                commits[0] += 1
                raise Died
        return None

    def land_twice(lake: Lake, topic: Topic, log: Log, *more: Any) -> None:
        monkeypatch.setattr(Lake, "append", apart)
        with pytest.raises(Died):
            land(lake, topic, log, *more)
        land(lake, topic, log, *more)

    return land_twice


def test_offsets_that_are_committed_after_the_rows_double_when_the_lander_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = counts(check(landed(tmp_path, land_all=unguarded(monkeypatch, 5, offsets_first=False))))
    assert found["doubled"] > 0
    assert found["lost"] == 0


def test_offsets_that_are_committed_before_the_rows_lose_when_the_lander_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = counts(check(landed(tmp_path, land_all=unguarded(monkeypatch, 5, offsets_first=True))))
    assert found["lost"] > 0
    assert found["doubled"] == 0
