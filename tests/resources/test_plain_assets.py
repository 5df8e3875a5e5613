"""A plain `@dg.asset` on the lake: the first thing that anybody who knows Dagster tries."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from convergence.lake.content_hash import content_hash
from convergence.lake.manifests import manifest
from convergence.lake.tables import WHOLE, Lake
from tests.resources.readings import DAILY, DAYS, Values, frame_of, held, materialize, readings, stored, values_of

Made = Callable[[], Any]


def plain(made: Made, **asset: Any) -> dg.AssetsDefinition:
    """An asset as Dagster's own pages write it."""

    def table():
        return made()

    return dg.asset(table, io_manager_key="lake", **asset)


def daily(values: Values) -> dg.AssetsDefinition:
    @dg.asset(io_manager_key="lake", partitions_def=DAILY)
    def table(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return frame_of(values, [context.partition_key])

    return table


def told(result: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition) -> dg.AssetMaterialization:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == asset.key]
    return event.step_materialization_data.materialization


def cause(result: dg.ExecuteInProcessResult) -> str:
    """What the one failed step says."""
    (failed,) = [e for e in result.all_events if e.is_step_failure]
    (info,) = [failed.step_failure_data.user_failure_data]
    assert info is not None
    assert info.description is not None
    return info.description


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_a_frame_is_stored_with_hash_manifest_and_metadata(
    lake: Lake, instance: dg.DagsterInstance, *, lazy: bool
) -> None:
    frame = pl.DataFrame({"name": ["a", "b"], "count": [1, 2]})
    asset = plain(lambda: frame.lazy() if lazy else frame)
    event = told(materialize([asset], lake, instance), asset)
    assert lake.scan("table").collect().sort("name").equals(frame)
    assert (event.tags or {})["dagster/data_version"] == content_hash(frame)
    assert manifest(lake, "table", WHOLE)["content_hash"] == content_hash(frame)
    assert event.metadata["dagster/row_count"].value == 2
    shown = event.metadata["dagster/column_schema"].value
    assert isinstance(shown, dg.TableSchema)
    assert {column.name: column.type for column in shown.columns} == {"name": "String", "count": "Int64"}


def test_a_day_replaces_itself_and_no_other(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of()
    asset = daily(values)
    for day in DAYS[:2]:
        materialize([asset], lake, instance, day)
    values[DAYS[0]] = [7]
    event = told(materialize([asset], lake, instance, DAYS[0]), asset)
    assert stored(lake, asset) == {DAYS[0]: [7], DAYS[1]: values[DAYS[1]]}
    assert (event.partition, event.metadata["dagster/partition_row_count"].value) == (DAYS[0], 1)
    assert (event.tags or {})["dagster/data_version"] == held(lake, asset)[DAYS[0]].content_hash


@pytest.mark.parametrize("kind", [pl.LazyFrame, pl.DataFrame], ids=["lazy", "eager"])
def test_what_it_read_stands_in_its_manifest(lake: Lake, instance: dg.DagsterInstance, kind: type) -> None:
    root = readings(values_of())

    def doubled(readings):
        assert isinstance(readings, kind)
        return readings.with_columns(pl.col("value") * 2)

    doubled.__annotations__["readings"] = kind
    asset = dg.asset(doubled, io_manager_key="lake", partitions_def=DAILY)
    materialize([root, asset], lake, instance, DAYS[3])
    there = manifest(lake, "doubled", DAYS[3])
    assert there["inputs"]["readings"]["partitions"] == {DAYS[3]: held(lake, root)[DAYS[3]].content_hash}
    assert stored(lake, asset) == {DAYS[3]: [2 * value for value in values_of()[DAYS[3]]]}


def test_what_the_asset_says_itself_stays(lake: Lake, instance: dg.DagsterInstance) -> None:
    asset = plain(
        lambda: dg.MaterializeResult(
            value=pl.DataFrame({"n": [1]}), metadata={"source": "here"}, data_version=dg.DataVersion("mine")
        )
    )
    event = told(materialize([asset], lake, instance), asset)
    assert event.metadata["source"].value == "here"
    assert event.metadata["dagster/row_count"].value == 1
    assert (event.tags or {})["dagster/data_version"] == "mine"


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda: np.zeros(3), "numpy.ndarray"),
        (lambda: [{"secret": "x"}], "builtins.list"),
    ],
    ids=["numpy", "rows"],
)
def test_what_is_no_polars_frame_is_refused_in_one_sentence(
    lake: Lake, instance: dg.DagsterInstance, made: Made, name: str
) -> None:
    said = cause(materialize([plain(made)], lake, instance))
    assert said.startswith(f"LakeError: table returned a {name}, and the lake keeps Polars frames: return a pl.")
    assert lake.open("table") is None


def test_what_is_no_polars_frame_is_refused_as_an_input(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(values_of())

    @dg.asset(io_manager_key="lake", partitions_def=DAILY)
    def copy(readings: np.ndarray) -> pl.DataFrame:
        return pl.DataFrame(readings)

    said = cause(materialize([root, copy], lake, instance, DAYS[0]))
    assert said == (
        "readings is read as a numpy.ndarray, and the lake gives Polars frames: annotate the input with "
        "pl.LazyFrame or pl.DataFrame"
    )


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ({"day": ["x"], "n": [1]}, "day is not declared"),
        ({"n": ["1"]}, "n is String, expected Int64"),
        ({"n": [1, None]}, "n has 1 nulls, and none may be"),
        ({"n": [1, 1]}, "n has 1 repeated values, and each must be unique"),
        ({}, "n is not there, expected Int64"),
    ],
    ids=["column too many", "type", "null", "repeated", "column missing"],
)
def test_a_frame_that_does_not_keep_its_declared_columns_changes_nothing(
    lake: Lake, instance: dg.DagsterInstance, frame: Mapping[str, list[Any]], problem: str
) -> None:
    one = dg.TableColumn("n", "Int64", constraints=dg.TableColumnConstraints(nullable=False, unique=True))
    made = [pl.DataFrame({"n": [5]}), pl.DataFrame(frame)]
    asset = plain(lambda: made.pop(0), metadata={"dagster/column_schema": dg.TableSchema(columns=[one])})
    assert materialize([asset], lake, instance).success
    said = cause(materialize([asset], lake, instance))
    assert said.startswith("ContractBroken: table does not keep its dagster/column_schema")
    assert problem in said
    assert lake.scan("table").collect()["n"].to_list() == [5]


def test_a_row_of_another_day_is_refused(lake: Lake, instance: dg.DagsterInstance) -> None:
    asset = plain(lambda: pl.DataFrame({"event_date": [date(2024, 1, 2)]}), partitions_def=DAILY)
    assert "1 of 1 rows belong to 2024-01-02, outside 2024-01-01" in cause(
        materialize([asset], lake, instance, DAYS[0])
    )


def test_several_days_in_one_run_are_refused_with_what_to_write_instead(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    asset = plain(
        lambda: frame_of(values_of(), DAYS[:2]),
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    said = cause(materialize([asset], lake, instance, DAYS[0], DAYS[1]))
    assert "a plain asset is written one at a time: leave its backfill_policy" in said
    assert "lake_asset" in said


def test_an_unforeseen_error_tells_type_and_place_and_no_value(lake: Lake, instance: dg.DagsterInstance) -> None:
    def late() -> pl.LazyFrame:
        return pl.LazyFrame({"n": ["secret"]}).with_columns(pl.col("n").str.to_integer())

    said = cause(materialize([plain(late)], lake, instance))
    assert said.startswith("ComputeError: ")
    assert "resources.plain_assets" in said
    assert "secret" not in said
