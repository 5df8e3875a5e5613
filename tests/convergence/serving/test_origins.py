from datetime import date
from pathlib import Path

import polars as pl
import pytest

from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.models.releases import Release
from convergence.serving.origins import Origins, run_that_made


def trained(lake: Lake, run_id: str, *days: int, suffix: str = "") -> None:
    """A run that commits a model for each of these days."""
    frames = {
        f"2018-05-{day:02}": pl.DataFrame({"event_date": [date(2018, 5, day)], "model_version": [f"{day}{suffix}"]})
        for day in days
    }
    lake.replace("models", frames, build_manifest(frames, "replace", Provenance(run_id, "")), lake.open("models"))


def release(model_version: str) -> Release:
    return Release("model", 1, model_version, "", "view", "", "")


def test_the_run_of_a_model_is_the_last_that_committed_its_day(lake: Lake) -> None:
    trained(lake, "a", 1, 2)
    trained(lake, "b", 2)
    trained(lake, "c", 3)
    assert [run_that_made(lake, "models", version) for version in "123"] == ["a", "b", "c"]


def test_a_model_that_another_has_taken_the_place_of_has_no_known_run(lake: Lake) -> None:
    trained(lake, "a", 1)
    trained(lake, "b", 1, suffix="-again")
    assert run_that_made(lake, "models", "1") is None


def test_the_run_is_known_as_soon_as_the_model_is_loaded(lake: Lake) -> None:
    trained(lake, "a", 1)
    origins = Origins(lake, "models")
    assert origins.run_of("1") is None
    assert origins.noting(lambda wanted: wanted.model_version)(release("1")) == "1"
    assert origins.run_of("1") == "a"


def test_a_model_without_a_known_origin_is_loaded_all_the_same(lake: Lake) -> None:
    origins = Origins(lake, "models")
    assert origins.noting(lambda wanted: wanted.model_version)(release("1")) == "1"
    assert origins.run_of("1") is None


def test_a_lost_file_of_the_models_table_keeps_no_model_from_loading(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    trained(lake, "a", 1, 2)
    for file in Path(lake.root).rglob("*.parquet"):
        file.unlink()
    origins = Origins(lake, "models")
    assert origins.noting(lambda wanted: wanted.model_version)(release("1")) == "1"
    assert "the run that made 1 is not known" in caplog.text
