"""What a materialization took, in its event."""

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.lake.tables import Lake
from convergence.observability.usage import Usage
from resources.costs import usages
from resources.lake import LakeIOManager, lake_asset
from resources.writes import costs
from tests.resources.readings import DAILY, DAYS, Reading, frame_of, materialize, readings, values_of

FIGURES = {"cpu_seconds", "elapsed_seconds", "peak_memory_mib", "bytes_written"}


def spent(assets: list[dg.AssetsDefinition], lake: Lake, *days: str) -> dict[str, dict[str, object]]:
    """The figures of each partition's event."""
    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(assets, instance=instance, resources={"lake": LakeIOManager(root=lake.root)}, tags=tags)
    events = [event.materialization for event in result.get_asset_materialization_events() if event.partition]
    return {
        str(one.partition): {k: v.value for k, v in one.metadata.items() if k in {*FIGURES, "cost_shared"}}
        for one in events
    }


@pytest.mark.parametrize("days", [DAYS[:1], DAYS[:3]], ids=["one day", "three days"])
def test_each_partition_says_what_it_took_and_the_bytes_that_lie_in_the_lake(lake: Lake, days: list[str]) -> None:
    found = spent([readings(values_of())], lake, *days)
    handle = lake.open("readings")
    assert handle
    files = pl.DataFrame(handle.get_add_actions(flatten=True))
    lying = dict(files.select(pl.col("partition.event_date").cast(pl.String), "size_bytes").iter_rows())
    assert {day: figures["bytes_written"] for day, figures in found.items()} == lying
    for figures in found.values():
        assert figures.keys() - {"cost_shared"} == FIGURES
        assert 0 < float(str(figures["cpu_seconds"])) < 60
        assert ("cost_shared" in figures) == (len(days) > 1)


def test_memory_that_an_asset_needed_and_gave_back_is_in_its_peak_and_not_in_that_of_the_next(lake: Lake) -> None:
    def asset(name: str, mebibytes: int) -> dg.AssetsDefinition:
        @lake_asset(contract=Reading, partitions_def=DAILY, name=name, code_version="1", tags={"layer": "dataset"})
        def made() -> pl.DataFrame:
            bytearray(b"\1" * mebibytes * 2**20)
            return frame_of(values_of(), DAYS[:1])

        return made

    peaks = [
        float(str(spent([asset(name, size)], lake, DAYS[0])[DAYS[0]]["peak_memory_mib"]))
        for name, size in (("small", 1), ("large", 400), ("small_again", 1))
    ]
    assert peaks[1] > peaks[0] + 300
    assert peaks[2] < peaks[1] - 300


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=8),
    st.floats(0, 1e4, allow_nan=False),
    st.floats(0, 1e4, allow_nan=False),
)
def test_the_shares_of_a_run_add_up_to_it(rows: list[int], cpu: float, seconds: float) -> None:
    frames = {str(n): pl.DataFrame({"x": range(height)}) for n, height in enumerate(rows)}
    found = costs(Usage(cpu, seconds, 100.0), frames, {"0": 7})
    assert sum(f["cpu_seconds"] for f in found.values()) == pytest.approx(cpu, abs=1e-4)
    assert sum(f["elapsed_seconds"] for f in found.values()) == pytest.approx(seconds, abs=1e-4)
    assert [f["bytes_written"] for f in found.values()] == [7] + [0] * (len(rows) - 1)
    shares = sorted((frames[key].height, f["cpu_seconds"]) for key, f in found.items())
    assert [s for _, s in shares] == sorted(s for _, s in shares)


def test_what_partitions_took_is_read_from_the_newest_event_of_each(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(values_of())
    materialize([root], lake, instance, *DAYS[:2])
    result = materialize([root], lake, instance, DAYS[1])
    (event,) = result.get_asset_materialization_events()
    found = usages(instance, root.key, len(DAYS))
    assert found.keys() == set(DAYS[:2])
    assert found[DAYS[1]] == tuple(event.materialization.metadata[name].value for name in Usage._fields)
    assert usages(instance, dg.AssetKey("never_made"), 3) == {}
