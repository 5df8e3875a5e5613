"""`convergence features`: the catalogue, the offline stores and the export, as a person uses them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from convergence.cli.feature_catalogue import features
from convergence.cli.features import follow
from convergence.errors import SettingsError
from convergence.lake.tables import Lake
from convergence.services.postgres import PostgresServer
from convergence.services.redis import stop_embedded
from convergence_assets.fraud.datasets import label_rows, transaction_rows
from convergence_assets.fraud.features import feature_rows
from resources.environments import settings
from tests.convergence.lake.frames import write
from tests.convergence_assets.fraud.streams import END, landed, stream

TABLE = "fraud/transaction_features"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with two days of features."""
    monkeypatch.setenv("CONVERGENCE_HOME", str(tmp_path))
    monkeypatch.delenv("CONVERGENCE_POSTGRES", raising=False)
    settings.cache_clear()
    lake = Lake(str(tmp_path / "lake"))
    landed(lake, tmp_path / "inbox", "all", stream())
    raw = lake.scan("fraud/raw_transactions")
    write(lake, feature_rows(transaction_rows(raw), label_rows(raw), END - timedelta(days=2), END), table=TABLE)
    yield tmp_path
    settings.cache_clear()


def run(*command: str) -> Result:
    return CliRunner().invoke(features, command, catch_exceptions=False)


def said(*command: str) -> str:
    result = run(*command)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_feature_is_shown_with_definition_code_statistics_and_the_models_that_use_it(home: Path) -> None:
    shown = dict(line.split(maxsplit=1) for line in said("show", "customer_count_1h").splitlines())
    assert shown["customer_count_1h"] == "Transactions of the customer in the last 1h, this one included"
    assert (shown["window"], shown["by"], shown["owner"]) == ("1 hour", "customer_id", "team:fraud")
    file, line = shown["code"].split(":")
    assert file == "convergence_assets/fraud/feature_views.py"
    assert "customer_count_" in (Path(__file__).parents[3] / file).read_text().splitlines()[int(line) - 1]
    assert "fraud/fraud_model" in shown["models"]
    assert "fraud/fraud_scores" in shown["tables"]
    newest = Lake(str(home / "lake")).scan(TABLE).filter(pl.col("event_date") == pl.col("event_date").max()).collect()
    assert shown["newest"].startswith(f"2018-05-12, {newest.height} rows")
    assert f"rows {newest.height}, null 0, mean {newest['customer_count_1h'].mean():.4g}" in shown["statistics"]


def test_a_feature_that_no_model_takes_says_which_features_are_made_of_it(home: Path) -> None:
    shown = said("show", "customer_genuine_mean_30d")
    assert "none takes it itself" in shown
    assert "amount_to_genuine_mean, max_to_genuine_mean" in shown


def test_features_are_listed_by_use_case_and_an_unknown_one_is_answered_with_those_there_are(home: Path) -> None:
    listed = said("ls", "fraud")
    assert "terminal_frauds_7d" in listed
    assert "customer_features" not in listed
    assert "churn/customer_features" in said("ls")
    unknown = run("ls", "weather")
    assert (unknown.exit_code, "churn, fraud" in unknown.output) == (2, True)


def test_a_table_is_shown_with_what_can_be_asked_of_it(home: Path) -> None:
    assert "transaction_features_by_customer_id by customer_id: customer_count_1h" in said("show", TABLE)
    assert "never materialized" in said("show", "churn/customer_features")


def test_every_engine_writes_the_same_rows(
    home: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVERGENCE_POSTGRES", postgres.url)
    settings.cache_clear()
    rows = Lake(str(home / "lake")).scan(TABLE).select("customer_id", "event_time", "arrived_at").collect()
    rows.write_parquet(home / "spine.parquet")
    assert "2 days published" in said("publish", TABLE)
    assert "up to date" in said("publish", TABLE)
    asked = ["--group", "transaction_features_by_customer_id", "--known-by", "arrived_at"]
    found = []
    for engine in ("polars", "duckdb", "postgres"):
        out = home / f"{engine}.parquet"
        assert f"{rows.height} rows with 12 features" in said(
            "historical", str(home / "spine.parquet"), *asked, "--engine", engine, "-o", str(out)
        )
        found.append(pl.read_parquet(out))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
    assert found[0]["customer_count_1h"].null_count() == 0


def test_without_a_server_the_next_step_is_said(home: Path) -> None:
    with pytest.raises(SettingsError, match="services up postgres"):
        run("publish", TABLE)


def test_a_group_or_table_that_is_not_there_is_answered_with_those_there_are(home: Path) -> None:
    assert TABLE in run("publish", "fraud/nothing").output
    group = run("historical", str(Path(__file__)), "--group", "nothing", "-o", str(home / "out"))
    assert (group.exit_code, "transaction_features_by_customer_id" in group.output) == (2, True)


def test_the_export_is_a_folder_that_feast_can_apply(home: Path) -> None:
    told = said("export", "fraud", "--feast", str(home / "repository"))
    assert "feast apply" in told
    written = {str(path.relative_to(home / "repository")) for path in (home / "repository").rglob("*.*")}
    assert {"feature_store.yaml", "features.py", "README.md", "data/transaction_features.parquet"} <= written
    assert "owner='team:fraud'" in (home / "repository" / "features.py").read_text()


def test_a_first_fill_says_how_much_it_filled_and_the_next_look_what_it_applied(home: Path) -> None:
    try:
        first, second = (CliRunner().invoke(follow, ["fraud", "--until-caught-up"]).output for _ in range(2))
    finally:
        stop_embedded(home)
    filled = re.fullmatch(r"\S+: filled with ([\d,]+) entities, now at version \d+ of fraud/raw_transactions\n", first)
    assert filled, first
    assert int(filled[1].replace(",", "")) > 0
    assert ": 0 rows applied, now at version" in second
