"""Churn's models as they run: from features in the lake to a campaign's list, in process, on few customers."""

import re
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from convergence.cli.reproduce import reproduced
from convergence.lake.manifests import Provenance, build_manifest, record, states
from convergence.lake.tables import by_day
from convergence_assets.churn.arrivals import FIRST_DAY
from convergence_assets.churn.model import CHURN
from resources import environments
from tests.convergence_assets.churn.frames import world
from tests.convergence_assets.churn.worlds import QUIET, House, failure, house_in

CUSTOMER = re.compile(rb"\d{4}-[A-Z]{5}")
WEEK = "2024-03-18"
DAYS = (WEEK, "2024-03-19")
RUNS: dict[str, tuple[str, str]] = {
    "churn_leaderboard": ("2024-02-19", "2024-02-19"),
    "churn_model": (WEEK, WEEK),
    "churn_promotions": (WEEK, WEEK),
    "churn_evaluation": (WEEK, WEEK),
    "churn_champions": DAYS,
    "churn_scores": DAYS,
    "campaign_targets": DAYS,
}
QUICKLY: dict[str, Any] = {"churn__churn_leaderboard": {"config": {"trials": 1, "folds": 2}}}


def run(house: House, asset: str, first: str, last: str, **config: Any) -> dg.ExecuteInProcessResult:
    op = f"churn__{asset}"
    ops = {op: {"config": config}} if config else {k: v for k, v in QUICKLY.items() if k == op}
    return house.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=house.instance,
        asset_selection=[dg.AssetKey(["churn", asset])],
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
        run_config={**QUIET, "ops": ops},
        raise_on_error=False,
    )


def files(house: House, table: str, day: str) -> list[str]:
    """The hashes of the bytes of a day's live files, whatever the files are called."""
    handle = house.lake.open(f"churn/{table}")
    assert handle is not None
    named = [uri for uri in handle.file_uris() if f"event_date={day}/" in uri]
    return sorted(sha256(Path(uri).read_bytes()).hexdigest() for uri in named)


def content(house: House) -> dict[str, str]:
    """The content hash of each day's scores."""
    held = states(house.lake, ["churn/churn_scores"])["churn/churn_scores"]
    return {day: state.content_hash for day, state in held.items()}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Features and labels of 2,800 customers in a lake, and every model asset made of them once."""
    with dg.DagsterInstance.ephemeral() as instance:
        built = house_in(tmp_path_factory.mktemp("models"), instance)
        for table, rows in zip(("customer_features", "churn_labels"), world(), strict=True):
            parts = by_day(rows)
            built.lake.replace(f"churn/{table}", parts, build_manifest(parts, "replace", Provenance("test", "1")), None)
            record(built.lake, [f"churn/{table}"])
        for asset, days in RUNS.items():
            result = run(built, asset, *days)
            assert result.success, failure(result)
        yield built


def test_every_asset_has_each_day_of_its_run(house: House) -> None:
    held = states(house.lake, [f"churn/{asset}" for asset in RUNS])
    assert {table: set(days) for table, days in held.items()} == {
        f"churn/{asset}": set(days) for asset, days in RUNS.items()
    }


def test_scores_made_again_are_the_same_bytes(house: House) -> None:
    before = {day: files(house, "churn_scores", day) for day in DAYS}
    hashes = {
        day: s.content_hash for day, s in states(house.lake, ["churn/churn_scores"])["churn/churn_scores"].items()
    }
    result = run(house, "churn_scores", *DAYS)
    assert result.success, failure(result)
    assert {day: files(house, "churn_scores", day) for day in DAYS} == before
    assert content(house) == hashes
    assert all(before.values())


def test_a_list_follows_the_budget_of_its_run(house: House) -> None:
    budget = 90.0
    result = run(house, "campaign_targets", WEEK, WEEK, budget=budget)
    assert result.success, failure(result)
    rows = house.rows("campaign_targets", WEEK)
    assert 0 < rows["cost"].sum() <= budget


@pytest.mark.parametrize("asset", ["churn_leaderboard", "churn_scores"])
def test_a_partition_is_made_again_from_what_its_manifest_names(
    house: House, asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leaderboard too: the seconds that its fits took are not in its rows."""
    monkeypatch.setattr(environments, "settings", lambda: house.settings)
    assert reproduced(f"churn/{asset}@{RUNS[asset][0]}")


def test_the_model_can_be_released(house: House) -> None:
    candidate = CHURN.declared.releasable.candidate(house.lake)
    assert candidate.passed
    assert candidate.gate.endswith(".")
    assert CHURN.declared.releasable.span(house.lake).valid_from == FIRST_DAY + timedelta(days=79)
    assert [job.name for job in CHURN.jobs] == ["churn_model_release"]


def test_no_customer_is_named_in_what_mlflow_keeps(house: House) -> None:
    """The runs of model and evaluation are in its database, their files beside it."""
    customers = {name.encode() for name in house.rows("churn_labels")["customer_id"].unique()}
    assert len(customers) > 1_000
    assert all(CUSTOMER.fullmatch(name) for name in customers)  # or the search would find none
    kept = {
        str(path.relative_to(house.settings.home / "mlflow")): path.read_bytes()
        for path in (house.settings.home / "mlflow").rglob("*")
        if path.is_file()
    }
    assert {"mlflow.db", "model.json", "report.json"} <= {name.rpartition("/")[2] for name in kept}
    assert [name for name, content in kept.items() if customers & set(CUSTOMER.findall(content))] == []
