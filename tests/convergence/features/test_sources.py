"""What each feature is computed from, read off the declaration and held against what an engine needs."""

from datetime import timedelta

import narwhals as nw
import polars as pl
import pytest

from convergence.features.sources import feature_sources, root_names
from convergence.features.views import Aggregate, FeatureView, RowExpression

DAY = timedelta(days=1)
VIEW = FeatureView(
    "payment_features",
    description="Payments",
    source="payments",
    sequence="payment_id",
    aggregates=(
        Aggregate("mean", description="m", entity=("customer",), function="mean", column="amount", window=DAY),
        Aggregate("frauds", description="f", entity=("customer",), function="count", where="is_fraud", source="labels",
                  window=DAY),
    ),
    expressions=(
        RowExpression("ratio", nw.col("amount") / nw.col("mean"), "r"),
        RowExpression("above", nw.col("ratio") > 1, "a"),
    ),
)  # fmt: skip
SCHEMA = pl.Schema(
    {
        **{"amount": pl.Float64(), "customer": pl.Int64(), "event_time": pl.Datetime("us"), "mean": pl.Float64()},
        **{"frauds": pl.Int64(), "ratio": pl.Float64(), "above": pl.Boolean()},
    }
)
TIMES = {("payments", "event_time"), ("payments", "arrived_at")}


def test_an_aggregate_reads_values_conditions_keys_and_times() -> None:
    found = {name: set(pairs) for name, pairs in feature_sources(VIEW, SCHEMA).items()}
    assert found["mean"] == TIMES | {("payments", "amount"), ("payments", "customer")}
    labels = {("labels", name) for name in ("is_fraud", "customer", "event_time", "arrived_at")}
    assert found["frauds"] == TIMES | labels | {("payments", "customer")}


def test_an_expression_reads_what_the_features_in_it_read() -> None:
    found = feature_sources(VIEW, SCHEMA)
    assert set(found["ratio"]) == set(found["above"]) == set(found["mean"])


EXPRESSIONS = {
    "arithmetic": nw.col("a") / (nw.col("b") + 1),
    "a column twice": nw.col("a") - nw.col("a").mean(),
    "choice": nw.when(nw.col("a") > 1, nw.col("b") > 2).then(nw.col("c")).otherwise(nw.lit(0)),
    "several at once": nw.sum_horizontal("a", nw.col("b")) * 2,
    "a window": nw.col("a").sum().over("b"),
    "a constant": nw.lit(1),
    "methods": nw.col("c").fill_null(0).is_in([1, 2]),
}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_the_columns_of_an_expression_are_those_without_which_it_cannot_be_computed(expression: nw.Expr) -> None:
    frame = pl.DataFrame({"a": [1], "b": [2], "c": [3], "d": [4]})

    def computes(without: str) -> bool:
        try:
            nw.from_native(frame.drop(without)).select(x=expression)
        except Exception:
            return False
        return True

    assert root_names(expression, frame.schema) == [name for name in frame.columns if not computes(without=name)]
