from datetime import timedelta
from typing import Any

import narwhals as nw
import pytest

from convergence.errors import ConvergenceError
from convergence.features.views import Aggregate, FeatureView, RowExpression

DAY = timedelta(days=1)


def aggregate(name: str = "count_30d", **changes: Any) -> Aggregate:
    declared = {"description": "Rows.", "entity": ("customer",), "function": "count", "window": 30 * DAY}
    return Aggregate(name, **(declared | changes))


def view(*aggregates: Aggregate, **changes: Any) -> FeatureView:
    declared = {"description": "A view.", "source": "payments", "sequence": "id", "aggregates": aggregates}
    return FeatureView("velocity", **(declared | changes))


def test_a_day_reads_its_own_source_back_to_the_start_of_the_longest_window() -> None:
    assert view(aggregate(), aggregate("count_1h", window=timedelta(hours=1))).reach_back("payments") == (-30, 0)


def test_a_delayed_source_is_read_from_delay_and_window_ago_to_the_delay() -> None:
    labelled = view(aggregate(source="labels", delay=7 * DAY))
    assert labelled.reach_back("labels") == (-37, -7)
    assert labelled.reach_back("payments") == (0, 0)


@pytest.mark.parametrize(
    ("window", "delay", "expected"),
    [
        (timedelta(hours=1), timedelta(0), (-1, 0)),
        (timedelta(microseconds=1), timedelta(0), (0, 0)),
        (timedelta(microseconds=2), timedelta(0), (-1, 0)),
        (DAY, timedelta(0), (-1, 0)),
        (DAY + timedelta(microseconds=1), timedelta(0), (-1, 0)),
        (DAY + timedelta(microseconds=2), timedelta(0), (-2, 0)),
        (DAY, timedelta(hours=1), (-2, 0)),
        (DAY, DAY, (-2, -1)),
    ],
)
def test_reach_back_is_the_smallest_range_of_days_that_covers_the_window(
    window: timedelta, delay: timedelta, expected: tuple[int, int]
) -> None:
    assert view(aggregate(source="labels", window=window, delay=delay)).reach_back("labels") == expected


def test_reach_back_covers_every_aggregate_of_the_source() -> None:
    both = view(aggregate(source="labels", delay=7 * DAY), aggregate("recent", source="labels", window=DAY))
    assert both.reach_back("labels") == (-37, 0)


def test_reach_back_names_the_sources_when_asked_for_another() -> None:
    with pytest.raises(ConvergenceError, match="does not read 'clicks'; it reads payments, labels"):
        view(aggregate(source="labels")).reach_back("clicks")


def test_features_are_aggregates_then_expressions_each_with_its_description() -> None:
    ratio = RowExpression("ratio", nw.col("amount") / nw.col("count_30d"), "Amount per payment.")
    declared = view(aggregate(), expressions=(ratio,))
    assert declared.features == ("count_30d", "ratio")
    assert declared.descriptions == {"count_30d": "Rows.", "ratio": "Amount per payment."}


def test_an_aggregate_without_a_source_reads_that_of_its_view() -> None:
    declared = view(aggregate(), aggregate("labels_30d", source="labels"))
    assert [a.source for a in declared.aggregates] == ["payments", "labels"]
    assert declared.sources == ("payments", "labels")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": timedelta(0)}, "window is .* above 0"),
        ({"window": float("inf")}, "window is inf"),
        ({"window": timedelta.max}, "must be finite"),
        ({"delay": timedelta(seconds=-1)}, "delay is .* at least 0"),
        ({"function": "median"}, "'median' is unknown; expected one of count, sum"),
        ({"function": "sum"}, "sum needs the column"),
        ({"function": "mean"}, "mean needs the column"),
        ({"function": "count", "column": "amount"}, "count takes no column"),
        ({"entity": ()}, "expected a tuple of key columns"),
        ({"entity": "customer"}, "expected a tuple of key columns"),
        ({"resolution": 0.0}, "resolution is 0.0"),
        ({"resolution": float("nan")}, "resolution is nan"),
        ({"description": ""}, "description of one line"),
        ({"description": "One\nTwo"}, "description of one line"),
    ],
)
def test_a_contradictory_aggregate_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConvergenceError, match=f"aggregate 'count_30d': .*{message}"):
        aggregate(**changes)


@pytest.mark.parametrize("keep", [("count_30d",), ("event_time",), ("id", "id")])
def test_column_names_of_a_view_are_unique(keep: tuple[str, ...]) -> None:
    with pytest.raises(ConvergenceError, match=f"must be unique, repeated: {keep[0]}"):
        view(aggregate(), keep=keep)
