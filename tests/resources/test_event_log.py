import sqlite3
from pathlib import Path

import dagster as dg
import pytest

from resources.event_log import held_open


@pytest.fixture
def on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(
        "event_log_storage:\n  module: dagster._core.storage.event_log\n"
        f"  class: ConsolidatedSqliteEventLogStorage\n  config: {{base_dir: {tmp_path}}}\n"
    )
    return dg.DagsterInstance.get()


def materialize(instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("readings"))


def test_events_reach_the_log_while_it_is_held_open(on_sqlite: dg.DagsterInstance):
    with held_open(on_sqlite):
        materialize(on_sqlite)
        assert on_sqlite.get_latest_materialization_event(dg.AssetKey("readings")) is not None


def test_sqlite_folds_its_write_ahead_log_once_at_the_end_and_not_at_each_event(
    on_sqlite: dg.DagsterInstance, tmp_path: Path
):
    ahead = tmp_path / "event_log.db-wal"
    with held_open(on_sqlite):
        materialize(on_sqlite)
        assert ahead.stat().st_size > 0
    assert not ahead.exists()


def test_others_can_write_while_it_is_held_open(on_sqlite: dg.DagsterInstance, tmp_path: Path):
    with held_open(on_sqlite), sqlite3.connect(tmp_path / "event_log.db", timeout=0) as other:
        other.execute("CREATE TABLE another (number INTEGER)")


def test_an_instance_without_such_a_file_is_left_alone(instance: dg.DagsterInstance):
    with held_open(instance):
        materialize(instance)
    assert instance.get_latest_materialization_event(dg.AssetKey("readings")) is not None
