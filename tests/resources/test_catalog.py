"""What the catalogue says of assets that were run, and of those that were not."""

from typing import Any

import dagster as dg
import pytest

from convergence.catalog.prices import Prices
from convergence.lake.manifests import states
from convergence.lake.tables import Lake
from resources.catalog import catalog
from resources.lake import LakeIOManager
from resources.lineage import column_graph, with_column_lineage
from tests.resources.readings import DAYS, made_from, readings, values_of

PRICES = Prices("EUR", cpu_hour=3600.0, memory_gib_hour=0.0, storage_gb_month=1e9)  # a second of CPU, a byte: 1


@pytest.fixture
def found(lake: Lake) -> dict[str, dict[str, Any]]:
    """Two tables of two days each, the second day made twice, and one that was never run."""
    root = readings(values_of())
    copy, idle = made_from(root, "copy"), made_from(root, "idle")
    at = {"lake": LakeIOManager(root=lake.root)}
    defs = with_column_lineage(dg.Definitions(assets=[root, copy, idle], resources=at))
    with dg.DagsterInstance.ephemeral() as instance:
        for first, last in ((DAYS[0], DAYS[1]), (DAYS[1], DAYS[1])):
            tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            assert dg.materialize([root, copy], instance=instance, resources=at, tags=tags).success
        graph = column_graph(defs.resolve_all_asset_specs())
        made = catalog(defs, graph, [], instance, lake, PRICES)
    return {asset["key"]: asset for asset in made["assets"]}


def test_columns_have_their_sources_and_assets_their_inputs(found: dict[str, dict[str, Any]]) -> None:
    assert found["copy"]["upstream"] == ["readings"]
    assert {c["name"]: c["from"] for c in found["copy"]["columns"]} == {
        "event_date": ["readings.event_date"],
        "value": ["readings.value"],
    }
    assert "never null" in found["copy"]["columns"][0]["rules"]


def test_versions_are_those_that_the_lake_holds(found: dict[str, dict[str, Any]], lake: Lake) -> None:
    held = states(lake, ["copy"])["copy"]
    versions = found["copy"]["versions"]
    assert (versions["partitions"], versions["rows"]) == (2, 6)
    assert {p["partition"]: (p["version"], p["hash"]) for p in versions["newest"]} == {
        key: (state.version, state.content_hash) for key, state in held.items()
    }


def test_cost_is_that_of_the_newest_materialization_of_each_partition(found: dict[str, dict[str, Any]]) -> None:
    cost, parts = found["copy"]["cost"], found["copy"]["versions"]["newest"]
    assert cost["measured"] == 2
    assert cost["making"] == pytest.approx(sum(p["cpu_seconds"] for p in parts)) == pytest.approx(cost["cpu_seconds"])
    assert cost["keeping"] == cost["bytes_written"] == sum(p["bytes_written"] for p in parts)


def test_a_check_has_its_last_verdict(found: dict[str, dict[str, Any]]) -> None:
    (check,) = found["copy"]["checks"]
    assert (check["name"], check["blocking"], check["verdict"]) == ("contract", True, "passed")
    assert check["at"]


def test_what_was_never_run_says_so(found: dict[str, dict[str, Any]]) -> None:
    idle = found["idle"]
    assert (idle["versions"], idle["cost"], idle["checks"][0]["verdict"]) == (None, None, "never run")
