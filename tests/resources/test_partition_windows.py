"""Our own answer to "which upstream partitions does one partition read" against Dagster's, which is slow but right."""

from datetime import UTC, datetime

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.lake.tables import WHOLE
from convergence_assets.partitions import daily, weekly, window
from resources.partition_windows import upstream_reads

NOW = datetime(2024, 6, 1, tzinfo=UTC)
MONDAYS = dg.WeeklyPartitionsDefinition("2024-01-01", end_date="2024-02-05", day_offset=1)


@st.composite
def definitions(draw: st.DrawFn) -> dg.TimeWindowPartitionsDefinition:
    """Daily or weekly partitions that begin and end on any day of a few weeks around the same time."""
    first = draw(st.dates(datetime(2024, 1, 1).date(), datetime(2024, 1, 20).date()))
    last = draw(st.dates(datetime(2024, 1, 21).date(), datetime(2024, 2, 10).date()))
    return draw(st.sampled_from([daily, weekly]))(first, last)


@st.composite
def windows(draw: st.DrawFn) -> dg.TimeWindowPartitionMapping | None:
    last = draw(st.integers(-5, 0))
    return draw(st.sampled_from([None, window(last - draw(st.integers(0, 5)), last)]))


@settings(max_examples=60, deadline=None)
@given(downstream=definitions(), upstream=definitions(), mapping=windows())
def test_every_partition_reads_what_dagster_says_it_reads(
    downstream: dg.TimeWindowPartitionsDefinition,
    upstream: dg.TimeWindowPartitionsDefinition,
    mapping: dg.TimeWindowPartitionMapping | None,
) -> None:
    reads = upstream_reads(mapping, downstream, upstream)
    oracle = mapping or dg.TimeWindowPartitionMapping()
    for key in downstream.get_partition_keys(NOW):
        one = downstream.subset_with_partition_keys([key])
        told = oracle.get_upstream_mapped_partitions_result_for_partitions(one, downstream, upstream, NOW)
        assert list(reads(key)) == sorted(told.partitions_subset.get_partition_keys()), key


@pytest.mark.parametrize(
    ("mapping", "key", "expected"),
    [
        (None, "2024-01-03", ["2024-01-03"]),
        (window(-2), "2024-01-03", ["2024-01-01", "2024-01-02", "2024-01-03"]),
        (window(-2), "2024-01-01", ["2024-01-01"]),
        (window(-2, -1), "2024-01-01", []),
        (window(-7, -7), "2024-01-09", ["2024-01-02"]),
    ],
)
def test_a_window_is_clipped_at_the_start_of_history(
    mapping: dg.TimeWindowPartitionMapping | None, key: str, expected: list[str]
) -> None:
    days = daily(datetime(2024, 1, 1).date(), datetime(2024, 1, 10).date())
    assert upstream_reads(mapping, days, days)(key) == expected


def test_an_unpartitioned_upstream_is_read_as_a_whole() -> None:
    assert upstream_reads(None, MONDAYS, None)("2024-01-01") == [WHOLE]


def test_an_unpartitioned_asset_reads_every_partition() -> None:
    assert upstream_reads(None, None, MONDAYS)(WHOLE) == MONDAYS.get_partition_keys()


def test_all_partitions_are_read_when_the_mapping_says_so() -> None:
    assert upstream_reads(dg.AllPartitionMapping(), MONDAYS, MONDAYS)("2024-01-08") == MONDAYS.get_partition_keys()


def test_another_mapping_is_refused_by_name() -> None:
    with pytest.raises(
        dg.DagsterInvalidDefinitionError, match="LastPartitionMapping between lake assets: use TimeWindow"
    ):
        upstream_reads(dg.LastPartitionMapping(), MONDAYS, MONDAYS)


@pytest.mark.parametrize(
    "definition",
    [
        dg.HourlyPartitionsDefinition("2024-01-01-00:00", end_date="2024-01-02-00:00"),
        dg.MonthlyPartitionsDefinition("2024-01-01", end_date="2024-03-01"),
        dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05", timezone="Europe/Paris"),
        dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05", hour_offset=6),
        dg.StaticPartitionsDefinition(["a", "b"]),
    ],
    ids=["hourly", "monthly", "another time zone", "another hour", "static"],
)
def test_partitions_without_a_fixed_length_in_days_of_utc_are_refused(definition: dg.PartitionsDefinition) -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="daily or weekly partitions in UTC"):
        upstream_reads(None, MONDAYS, definition)
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="daily or weekly partitions in UTC"):
        upstream_reads(None, definition, MONDAYS)
