"""The point-in-time join against the plain as-of join, which knows no arrival and no order of ties."""

from datetime import timedelta

import polars as pl

from benchmarks.data import transactions
from benchmarks.measure import Section, alternately, compare
from convergence.features.point_in_time import point_in_time_join

ROWS = 1_000_000
SLOWER = round(1 / 0.9, 2)  # at least 0.9 times the rows a second


def plain(spine: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    return spine.sort("event_time").join_asof(
        facts.sort("event_time", "transaction_id"), on="event_time", by="card_id", strategy="backward", suffix="_fact"
    )


def section(*, quick: bool) -> Section:
    facts = transactions(ROWS, seed=1).select("event_time", "transaction_id", "card_id", "amount")
    facts = facts.with_columns(arrived_at=pl.col("event_time")).sample(fraction=1, shuffle=True, seed=2)
    spine = transactions(ROWS, seed=3).select("event_time", "card_id", "score")
    spine = spine.with_columns(arrived_at=pl.col("event_time"))
    tenth = pl.int_range(pl.len()) % 10 == 0
    late = facts.with_columns(
        arrived_at=pl.when(tenth).then(pl.col("event_time") + timedelta(days=1)).otherwise("event_time")
    )
    shuffled = spine.sample(fraction=1, shuffle=True, seed=4)
    cases = [
        ("spine in time order", spine, facts, SLOWER),
        ("spine in any order", shuffled, facts, SLOWER),
        ("a tenth of the facts a day late, spine in any order", shuffled, late, None),
    ]
    _require_same_facts(shuffled, facts)
    rows = []
    for case, rows_of_spine, known, at_most in cases:
        ours, reference = alternately(
            5 if quick else 9,
            lambda: point_in_time_join(rows_of_spine, known, by="card_id", sequence="transaction_id"),  # noqa: B023
            lambda: plain(rows_of_spine, known),  # noqa: B023
        )
        rows.append(compare(case, ours, reference, at_most))
    return Section(
        "Point-in-time join, 1 M x 1 M rows",
        "Ours: `point_in_time_join`, with cut-offs on event time and arrival, exact ties, and the rows in the order of "
        "the spine. Reference: Polars `sort` of both sides and `join_asof` by key, which ignores arrival. "
        f"Ratios are of time: {SLOWER} is 0.9 times the rows a second.",
        rows,
    )


def _require_same_facts(spine: pl.DataFrame, facts: pl.DataFrame) -> None:
    ours = point_in_time_join(spine, facts, by="card_id", sequence="transaction_id").sort("event_time", "card_id")
    reference = plain(spine, facts).sort("event_time", "card_id")
    assert ours["transaction_id"].equals(reference["transaction_id"]), "the two joins found different facts"
