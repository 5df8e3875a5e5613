"""What Dagster's own UI calls stale: nothing after equal data, exactly the readers of a day after changed data."""

import dagster as dg
import polars as pl
import pytest

from convergence.lake.manifests import states
from convergence.lake.tables import WHOLE, Lake
from convergence.versions.reconcile import stale_partitions
from resources.graph import lake_nodes
from resources.lake import lake_asset
from tests.resources.readings import (
    DAILY,
    DAYS,
    WEEKLY,
    WEEKS,
    Reading,
    Values,
    frame_of,
    made_from,
    materialize,
    out_of_date,
    readings,
    summed,
    values_of,
)


def everything(values: Values, *, reverse: bool = False) -> list[dg.AssetsDefinition]:
    """A root and one reader of each kind: same day, window, week, whole table, and a reader of the window."""
    root = backwards(values) if reverse else readings(values)
    total = summed(root, -2)
    return [
        root,
        made_from(root, "copy"),
        total,
        made_from(total, "copy_of_summed"),
        made_from(root, "weekly", partitions_def=WEEKLY),
        made_from(root, "whole", partitions_def=None),
    ]


def backwards(values: Values) -> dg.AssetsDefinition:
    @lake_asset(name="readings", contract=Reading, partitions_def=DAILY, code_version="1")
    def rows(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return frame_of(values, context.partition_keys).reverse()

    return rows


def built(values: Values, lake: Lake, instance: dg.DagsterInstance) -> list[dg.AssetsDefinition]:
    """The graph of `everything`, materialized throughout."""
    assets = everything(values)
    *dated, weekly, whole = assets
    assert materialize(assets, lake, instance, DAYS[0], DAYS[-1], only=dated).success
    assert materialize(assets, lake, instance, WEEKS[0], WEEKS[-1], only=[weekly]).success
    assert materialize(assets, lake, instance, only=[whole]).success
    return assets


def reconciled(assets: list[dg.AssetsDefinition], lake: Lake) -> dict[str, list[str]]:
    """What the reconcile sensor would call stale."""
    nodes = lake_nodes(spec for asset in assets for spec in asset.specs)
    found: dict[str, list[str]] = {}
    for stale in stale_partitions(nodes, states(lake, [n.table for n in nodes])):
        found.setdefault(stale.table, []).append(stale.partition)
    return found


def test_everything_is_fresh_after_range_runs(lake: Lake, instance: dg.DagsterInstance) -> None:
    assert out_of_date(built(values_of(), lake, instance), instance) == {}


def test_everything_is_fresh_after_runs_of_single_days_but_what_is_missing(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    assets = everything(values_of())[:4]
    for day in DAYS[:5]:
        materialize(assets, lake, instance, day)
    missing = dict.fromkeys(["readings", "copy", "summed", "copy_of_summed"], DAYS[5:])
    assert out_of_date(assets, instance) == missing


@pytest.mark.parametrize("days", [(DAYS[3],), (DAYS[0], DAYS[-1])], ids=["one day", "range"])
@pytest.mark.parametrize("reverse", [False, True], ids=["same order", "another order"])
def test_equal_data_leave_everything_fresh(
    lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...], *, reverse: bool
) -> None:
    values = values_of()
    built(values, lake, instance)
    assets = everything(values, reverse=reverse)
    materialize(assets, lake, instance, *days, only=assets[:1])
    assert out_of_date(assets, instance) == {}
    assert reconciled(assets, lake) == {}


@pytest.mark.parametrize("days", [(DAYS[3],), (DAYS[2], DAYS[4])], ids=["one day", "range"])
def test_changed_data_make_exactly_the_partitions_stale_that_read_them(
    lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...]
) -> None:
    values = values_of()
    assets = built(values, lake, instance)
    values[DAYS[3]] = [1, 2]
    materialize(assets, lake, instance, *days, only=assets[:1])
    readers = {"copy": [DAYS[3]], "summed": DAYS[3:6], "weekly": [WEEKS[0]]}
    # Dagster compares direct inputs only, and never those of an asset that reads all days; reconcile compares both
    assert out_of_date(assets, instance) == readers
    assert reconciled(assets, lake) == readers | {"copy_of_summed": DAYS[3:6], "whole": [WHOLE]}


@pytest.mark.parametrize("together", [True, False], ids=["range", "one by one"])
def test_making_the_stale_partitions_again_makes_everything_fresh(
    lake: Lake, instance: dg.DagsterInstance, *, together: bool
) -> None:
    values = values_of()
    assets = built(values, lake, instance)
    _, copy, total, copy_of_total, weekly, whole = assets
    values[DAYS[3]] = [1, 2]
    materialize(assets, lake, instance, DAYS[3], only=assets[:1])
    materialize(assets, lake, instance, DAYS[3], only=[copy])
    for days in [(DAYS[3], DAYS[5])] if together else [(day,) for day in DAYS[3:6]]:
        materialize(assets, lake, instance, *days, only=[total, copy_of_total])
    materialize(assets, lake, instance, WEEKS[0], only=[weekly])
    materialize(assets, lake, instance, only=[whole])
    assert out_of_date(assets, instance) == {}


def test_data_that_change_without_changing_the_result_stop_there(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of()
    root = readings(values)
    total = summed(root, -2)
    assets = [root, total, made_from(total, "copy_of_summed")]
    materialize(assets, lake, instance, DAYS[0], DAYS[-1])
    values[DAYS[3]] = [sum(values[DAYS[3]])]
    materialize(assets, lake, instance, DAYS[3], only=[root])
    materialize(assets, lake, instance, DAYS[3], DAYS[5], only=[total])
    assert out_of_date(assets, instance) == {}
