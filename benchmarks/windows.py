"""The engine of feature views against the least that numpy must do for the same windows."""

from datetime import timedelta

import numpy as np
import polars as pl

from benchmarks.data import FIRST_DAY, transactions
from benchmarks.measure import Section, alternately, compare
from convergence.features.views import Aggregate, FeatureView
from convergence.features.windows import compute

WINDOWS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
MICROSECOND = timedelta(microseconds=1)
START, END = pl.Series([FIRST_DAY, FIRST_DAY + timedelta(days=31)]).cast(pl.Datetime("us", "UTC")).to_list()

VIEW = FeatureView(
    "velocity",
    description="Count, sum and mean of a card's amounts",
    source="transactions",
    sequence="transaction_id",
    keep=("transaction_id",),
    aggregates=tuple(
        Aggregate(f"{function}_{name}", description=f"{function} of {name}", entity=("card_id",), function=function,
                  window=window, column=None if function == "count" else "amount", resolution=0.01)
        for name, window in WINDOWS.items()
        for function in ("count", "sum", "mean")
    ),
)  # fmt: skip


def limit(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort by card and time, then two binary searches and a difference of running sums for each window."""
    rows = rows.sort("card_id", "event_time", "transaction_id")
    card, time = rows["card_id"].to_numpy(), rows["event_time"].to_physical().to_numpy()
    span = int(time.max() - time.min()) + 2 * (WINDOWS["7d"] // MICROSECOND)
    key = card * span + (time - time.min()) + WINDOWS["7d"] // MICROSECOND
    running = np.concatenate([[0.0], np.cumsum(rows["amount"].to_numpy())])
    end = np.searchsorted(key, key, "right")
    columns = {}
    for name, window in WINDOWS.items():
        start = np.searchsorted(key, key - window // MICROSECOND, "right")
        count, total = end - start, running[end] - running[start]
        columns |= {f"count_{name}": count, f"sum_{name}": total, f"mean_{name}": total / count}
    return rows.with_columns(pl.Series(name, values) for name, values in columns.items())


def section(*, quick: bool) -> Section:
    rows = transactions(1_000_000).with_columns(arrived_at=pl.col("event_time"))
    _require_same_features(rows)
    ours, numpy = alternately(
        5 if quick else 9, lambda: compute(VIEW, {"transactions": rows}, START, END), lambda: limit(rows)
    )
    return Section(
        "Windows of a feature view, 1 M rows",
        "Ours: `convergence.features.windows.compute`: count, sum and mean over 1 h, 24 h and 7 d of one entity, exact "
        "sums, arrival respected, rows in time order. Reference: the limit in numpy: sort, binary searches, running "
        "float sums, no arrival, rows in the order of the sort. Same features (checked).",
        [compare("count, sum, mean x 1 h, 24 h, 7 d", ours, numpy, at_most=1.5)],
    )


def _require_same_features(rows: pl.DataFrame) -> None:
    ours = compute(VIEW, {"transactions": rows}, START, END).sort("transaction_id")
    reference = limit(rows).sort("transaction_id")
    for name in VIEW.features:
        worst = float((ours[name] - reference[name]).abs().max())  # pyright: ignore[reportArgumentType]
        assert worst < 1e-5, f"{name} differs from numpy by {worst}"
