"""Tables whose columns changed while they were written, and the rows that every reader has to give of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl

from convergence.lake.maintenance import compact
from convergence.lake.tables import Lake
from tests.convergence.lake.frames import FIRST, write

TIME = pl.Datetime("us", "UTC")
ALWAYS = pl.Schema(
    {"event_date": pl.Date(), "event_time": TIME, "arrived_at": TIME, "sequence": pl.Int64(), "customer": pl.Int64(),
     "n": pl.Int64()}
)  # fmt: skip
OLD, NEW = "old", "new"
# columns that rows of the old and of the new form have beside those; a renamed one is another from then on
CHANGES: dict[str, dict[str, dict[str, pl.Series]]] = {
    "added": {
        OLD: {},
        NEW: {"channel": pl.Series(["web", None]), "share": pl.Series([0.1, float("inf")])},
    },
    "renamed": {
        OLD: {"amount": pl.Series([0.1, None], dtype=pl.Float32), "first": pl.Series([True, None])},
        NEW: {"charge": pl.Series([0.2, 0.5], dtype=pl.Float32), "initial": pl.Series([None, False])},
    },
}
# which day is written, and in which form; None: small files are merged
ORDERS: dict[str, list[tuple[int, str] | None]] = {
    "old days, then a new one": [(0, OLD), (1, OLD), (2, NEW)],
    "a day again before an older one": [(0, OLD), (1, OLD), (1, NEW), None, (0, NEW)],
    "by code of before, after the new": [(1, NEW), (0, OLD), None],
}


def rows(number: int, columns: dict[str, pl.Series]) -> pl.DataFrame:
    """Two rows of a day, with these columns too."""
    day = FIRST + timedelta(days=number)
    times = [datetime(day.year, day.month, day.day, 7, tzinfo=UTC) + timedelta(microseconds=n) for n in range(2)]
    sequence = [10 * number, 10 * number + 1]
    always = {"event_date": [day] * 2, "event_time": times, "arrived_at": times, "sequence": sequence,
              "customer": [1, 1], "n": [1, 2]}  # fmt: skip
    return pl.DataFrame(always, schema=ALWAYS).with_columns(**columns)


def written(lake: Lake, table: str, change: str, order: str) -> Iterator[pl.DataFrame]:
    """Write a table in this order; after each step, the rows that it has: every column that any row ever had."""
    forms, held, schema = CHANGES[change], {}, dict(ALWAYS)
    for step in ORDERS[order]:
        if step is None:
            compact(lake, table)
        else:
            number, form = step
            held[number] = rows(number, forms[form])
            schema |= held[number].schema
            write(lake, held[number], table=table)
        yield pl.concat([pl.DataFrame(schema=schema), *held.values()], how="diagonal").sort("sequence")
