"""A run of an asset as a trace."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

import resources.environments
from convergence.errors import LakeError
from convergence.lake.tables import Lake
from resources.environments import ROOT, Settings
from resources.lake import LakeIOManager, lake_asset
from resources.tracing import trace_of
from tests.resources.readings import DAILY, DAYS, Reading, made_from, readings, values_of


def run(
    assets: list[dg.AssetsDefinition], lake: Lake, traces: Path | None, *days: str, **settings: Any
) -> tuple[dg.ExecuteInProcessResult, dict[str, dict[str, Any]]]:
    """A run, which may fail, and its spans by name."""
    with dg.DagsterInstance.ephemeral(settings=settings) as instance:
        result = dg.materialize(
            assets,
            instance=instance,
            resources={"lake": LakeIOManager(root=lake.root, traces=traces and str(traces))},
            tags={"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]},
            raise_on_error=False,
        )
    lines = [line for file in (traces or Path("nowhere")).glob("*.jsonl") for line in file.read_text().splitlines()]
    found = [json.loads(line) for line in lines]
    mine = [span for span in found if span["context"]["trace_id"] == f"0x{trace_of(result.run_id)}"]
    assert len(mine) == len({span["name"] for span in mine})
    return result, {span["name"]: span for span in mine}


def test_a_run_is_one_trace_with_what_was_read_and_written(lake: Lake, tmp_path: Path) -> None:
    root = readings(values_of())
    copy = made_from(root, "copy")
    result, found = run([root, copy], lake, tmp_path / "traces", DAYS[0], DAYS[2])
    assert found.keys() == {
        *("materialize readings", "write readings"),
        *("materialize copy", "read readings", "write copy"),
    }
    handle = lake.open("copy")
    assert found["materialize copy"]["attributes"] == {
        "asset": "copy",
        "run_id": result.run_id,
        "partitions": 3,
        "first": DAYS[0],
        "last": DAYS[2],
        "rows": 9,
        "version": handle and handle.version(),
    }
    of_copy = found["materialize copy"]
    assert of_copy["parent_id"] is None
    for part in ("read readings", "write copy"):
        assert found[part]["parent_id"] == of_copy["context"]["span_id"]
    assert of_copy["start_time"] == found["read readings"]["start_time"]
    assert found["write copy"]["attributes"] == {"partitions": 3, "rows": 9, "version": handle and handle.version()}


def test_an_asset_that_fails_is_in_the_trace_as_failed(lake: Lake, tmp_path: Path) -> None:
    @lake_asset(contract=Reading, partitions_def=DAILY, code_version="1", tags={"layer": "dataset"})
    def failing() -> pl.DataFrame:
        raise ValueError("customer 4711")

    result, found = run([failing], lake, tmp_path / "traces", DAYS[0])
    assert not result.success
    assert found["materialize failing"]["status"] == {"status_code": "ERROR", "description": "ValueError"}
    assert "4711" not in json.dumps(found)


def test_a_commit_that_fails_is_in_the_trace_and_the_next_run_is_not_below_it(lake: Lake, tmp_path: Path) -> None:
    root = readings(values_of())
    (Path(lake.root)).mkdir()
    (Path(lake.root) / "readings").write_text("a file where the table should be")
    result, found = run([root], lake, tmp_path / "traces", DAYS[0])
    assert not result.success
    assert found["materialize readings"]["status"]["status_code"] == "ERROR"
    (Path(lake.root) / "readings").unlink()
    result, found = run([root], lake, tmp_path / "traces", DAYS[0])
    assert result.success
    assert found["materialize readings"]["parent_id"] is None


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ValueError("customer 4711"), "ValueError: customer …\n"),
        (LakeError("the disk is full"), "LakeError: the disk is full"),
    ],
    ids=["an error of a library", "an error of ours"],
)
def test_the_log_says_which_run_failed_and_why(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, told: str
) -> None:
    @lake_asset(contract=Reading, partitions_def=DAILY, code_version="1", tags={"layer": "dataset"})
    def failing() -> pl.DataFrame:
        raise raised

    monkeypatch.setattr(resources.environments, "settings", lambda: Settings(home=tmp_path))
    logs = yaml.safe_load((ROOT / "dagster.yaml").read_text())["python_logs"]
    result, _ = run([failing], lake, None, DAYS[0], python_logs=logs)
    text = "".join(file.read_text() for file in (tmp_path / "logs").glob("*.jsonl"))
    lines = [json.loads(line) for line in text.splitlines()]
    (failed,) = [line for line in lines if line.get("step_key") == "failing" and "error" in line]
    assert (failed["run_id"], failed["level"]) == (result.run_id, "ERROR")
    assert failed["error"].startswith(told)
    assert "4711" not in text


def test_without_a_place_for_them_no_spans_are_made(lake: Lake) -> None:
    result, found = run([readings(values_of())], lake, None, DAYS[0])
    assert result.success
    assert found == {}


def test_a_run_that_is_none_of_dagsters_has_no_trace_id() -> None:
    assert trace_of("continuous/host/1") is None
    assert trace_of("2a12ecae-7026-479e-a827-34c1c975429d") == "2a12ecae7026479ea82734c1c975429d"
