"""Settings are read from the environment in one place, and a setting that names nothing is said so."""

import os
import re
from pathlib import Path

import dagster as dg
import pytest

from convergence.errors import SettingsError
from convergence.lake import durable
from resources.configured import by_name, resources
from resources.environments import ROOT, Settings, settings, storage_options

READS_ENVIRONMENT = re.compile(r"\b(os\.environ|getenv|environb?\[|from os import environ|BaseSettings)")


def test_the_environment_is_read_in_one_place_only() -> None:
    # JAVA_HOME is Java's own: it is read where java is looked for
    allowed = {ROOT / "resources/environments.py", ROOT / "convergence/services/jars.py"}
    folders = ["convergence", "convergence_assets", "resources", "sensors", "asset_checks"]
    readers = {
        path.relative_to(ROOT)
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if path not in allowed
        and not path.is_relative_to(ROOT / "convergence/cli")
        and READS_ENVIRONMENT.search(path.read_text())
    }
    assert readers == set()


def test_settings_are_named_after_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONVERGENCE_HOME", str(tmp_path))
    monkeypatch.setenv("CONVERGENCE_LAKE_URL", "s3://bucket/lake")
    assert Settings().home == tmp_path
    assert Settings().lake_root == "s3://bucket/lake"


def test_everything_lies_below_home_when_nothing_else_is_said(tmp_path: Path) -> None:
    made = resources(Settings(home=tmp_path, lake_url=None, mlflow_url=None))
    assert made["lake"].root == f"{tmp_path}/lake"
    assert made["sources"].inbox == f"{tmp_path}/inbox"
    assert made["experiments"].tracking_uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert made["experiments"].artifacts == f"{tmp_path}/mlflow/artifacts"


def test_logs_and_traces_lie_below_home_or_go_where_a_setting_says(tmp_path: Path) -> None:
    embedded = Settings(home=tmp_path)
    assert embedded.log_folder == tmp_path / "logs"
    assert (resources(embedded)["lake"].traces, resources(embedded)["lake"].collector) == (f"{tmp_path}/traces", None)
    server = Settings(home=tmp_path, log="stderr", otlp="http://127.0.0.1:4318")
    assert server.log_folder is None
    assert resources(server)["lake"].collector == dg.EnvVar("CONVERGENCE_OTLP")
    assert resources(server, in_clear=True)["lake"].collector == "http://127.0.0.1:4318"


@pytest.mark.parametrize(("name", "value"), [("CONVERGENCE_TRACED", "3"), ("CONVERGENCE_LOG", "syslog")])
def test_a_setting_of_a_wrong_kind_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}: .*docs/settings.md"):
        settings.__wrapped__()


def test_a_folder_lake_needs_no_options() -> None:
    assert storage_options(Settings(lake_url=None)) == {}


def test_the_keys_of_a_bucket_are_given_to_dagster_by_name_and_to_commands_in_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name in names:
        monkeypatch.setenv(name, f"{name} of a test")
    options = storage_options(Settings(lake_url="s3://bucket/lake"))
    assert [options[name] for name in names] == [f"{name} of a test" for name in names]
    assert [by_name(options)[name] for name in names] == [dg.EnvVar(name) for name in names]
    assert "AWS_ENDPOINT_URL" not in options


@pytest.mark.parametrize(("endpoint", "http"), [("http://127.0.0.1:9000", "true"), ("https://s3.example", "false")])
def test_an_s3_compatible_server_is_reached_over_http_only_if_its_url_says_so(endpoint: str, http: str) -> None:
    options = storage_options(Settings(lake_url="s3://bucket/lake", s3_endpoint=endpoint))
    assert (options["AWS_ENDPOINT_URL"], options["AWS_ALLOW_HTTP"]) == (endpoint, http)


def test_named_data_that_are_not_there_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CONVERGENCE_DATA names .*/nowhere, which is no folder: correct it"):
        _ = Settings(data=tmp_path / "nowhere").published_data


def test_named_data_are_used(tmp_path: Path) -> None:
    assert Settings(data=tmp_path).published_data == tmp_path


def test_data_beside_the_repository_are_used_only_if_they_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("resources.environments.ROOT", tmp_path / "repository")
    assert Settings(data=None).published_data is None
    (tmp_path / "shared/data").mkdir(parents=True)
    assert Settings(data=None).published_data == tmp_path / "shared/data"


@pytest.mark.parametrize("said", ["on", "off"])
def test_whether_commits_wait_for_the_disk_and_reads_are_checked_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(os, "fsync", waited.append)
    for name in ("DURABLE", "CHECK_READS"):
        monkeypatch.setenv(f"CONVERGENCE_{name}", said)
    settings.cache_clear()
    try:
        here = settings()
        durable.settle(tmp_path)
    finally:
        durable.wait_for_the_disk(wait=False)  # as for all other tests
        settings.cache_clear()
    assert (bool(waited), resources(here)["lake"].check_reads) == (said == "on", said == "on")
