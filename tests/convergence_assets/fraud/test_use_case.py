"""The use case as it runs: from files in the drop folder to scores, in process, on a small simulated history."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from convergence.arrivals.replay import replay
from convergence.cli.reproduce import reproduced
from convergence.lake.manifests import manifest, states
from convergence.lake.tables import Lake
from convergence.models import release_log, stored
from convergence.models.ensemble import Fitted
from convergence.models.tuning import Range
from convergence.versions.audit import AuditLog
from convergence_assets._parts import gated
from convergence_assets.fraud import definitions, parameters, training
from convergence_assets.fraud.arrivals import FIRST_DAY, LAST_DAY, TOPIC
from convergence_assets.fraud.training import fitted
from convergence_assets.fraud.use_case import MODEL
from resources import environments
from resources.configured import resources
from resources.environments import Settings
from tests.convergence_assets.fraud.worlds import ORIGIN, history, messages

RELEASABLE = MODEL.releasable

WEEK, NEXT_WEEK = "2018-07-18", "2018-07-25"
SCORED = ("2018-07-18", "2018-07-24")
DERIVED = {
    "transactions": (str(FIRST_DAY), "2018-07-25"),
    "labels": (str(FIRST_DAY), "2018-07-25"),
    "transaction_features": ("2018-06-06", "2018-07-25"),
    "fraud_parameters": ("2018-07-11", "2018-07-11"),
    "fraud_model": (WEEK, WEEK),
    "fraud_updated_model": (WEEK, WEEK),
    "fraud_promotions": (WEEK, WEEK),
    "fraud_evaluation": (WEEK, WEEK),
    "fraud_champions": SCORED,
    "fraud_scores": SCORED,
    "fraud_alerts": SCORED,
}
AGAIN = DERIVED | {"transaction_features": ("2018-07-17", "2018-07-25")}
ORIGINS = [ORIGIN, "dropped file"]
CORRECTED, REPEATED = 100, 20


@dataclass
class House:
    """A deployment of the use case in a folder of its own."""

    home: Path
    instance: dg.DagsterInstance

    @property
    def lake(self) -> Lake:
        return resources(Settings(home=self.home))["lake"].lake

    def materialize(self, asset: str, first: str, last: str) -> dg.ExecuteInProcessResult:
        mine = dg.Definitions(resources=resources(Settings(home=self.home)), executor=dg.in_process_executor)
        job = dg.Definitions.merge(definitions.defs, mine).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(["fraud", asset])],
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def rows(self, table: str) -> pl.DataFrame:
        return self.lake.scan(f"fraud/{table}").collect()

    def hashes(self) -> dict[str, dict[str, str]]:
        tables = [f"fraud/{asset}" for asset in DERIVED]
        return {t: {key: s.content_hash for key, s in held.items()} for t, held in states(self.lake, tables).items()}


@pytest.fixture(scope="module")
def few_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ROUNDS", 20)
        patch.setattr(parameters, "TRIALS", 2)
        patch.setattr(parameters, "FOLDS", 1)
        patch.setitem(parameters.SPACE, "rounds", Range(10, 30))
        yield


@pytest.fixture(scope="module")
def results(house: House) -> dict[str, dg.ExecuteInProcessResult]:
    """Every asset of the use case materialized, upstream first, as of one week."""
    landing = house.materialize("raw_transactions", str(FIRST_DAY), str(LAST_DAY))
    return {"raw_transactions": landing} | {a: house.materialize(a, *days) for a, days in DERIVED.items()}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, few_rounds: None) -> Iterator[House]:
    """A drop folder with the small history, some repeated messages, and a correction of one amount."""
    home = tmp_path_factory.mktemp("house")
    list(replay(replace(TOPIC, history=history), None, home / "inbox", FIRST_DAY, LAST_DAY))
    messages().head(REPEATED).write_csv(home / "inbox" / TOPIC.name / "repeats.csv")
    correction = messages().slice(CORRECTED, 1)
    arrived = (correction["TX_DATETIME"] + timedelta(hours=1)).dt.to_string("iso").alias("arrived_at")
    corrected = correction.with_columns(arrived, TX_AMOUNT=pl.lit(77.7))
    corrected.write_ndjson(home / "inbox" / TOPIC.name / "correction.jsonl")
    with dg.DagsterInstance.ephemeral() as instance:
        yield House(home, instance)


@pytest.mark.parametrize("asset", ["raw_transactions", *DERIVED])
def test_an_asset_materializes_and_all_its_checks_pass(
    results: dict[str, dg.ExecuteInProcessResult], asset: str
) -> None:
    evaluations = results[asset].get_asset_check_evaluations()
    assert results[asset].success
    assert {e.check_name for e in evaluations} == {
        "contract",
        *{
            "transactions": ["one_day"],
            "transaction_features": ["leakage"],
            "fraud_promotions": ["gate"],
            "fraud_alerts": ["personal_data"],
        }.get(asset, []),
    }
    assert [e for e in evaluations if not e.passed] == []


@pytest.fixture
def ready(house: House, results: dict[str, dg.ExecuteInProcessResult]) -> House:
    assert all(result.success for result in results.values())
    return house


def test_raw_keeps_every_message_and_transactions_one_of_each(ready: House) -> None:
    assert ready.rows("raw_transactions").height == messages().height + REPEATED + 1
    until = messages().filter(pl.col("TX_DATETIME") < pl.datetime(2018, 7, 26))
    assert sorted(ready.rows("transactions")["transaction_id"]) == sorted(until["TRANSACTION_ID"])


def test_a_correction_replaces_what_it_corrects(ready: House) -> None:
    (number,) = messages().slice(CORRECTED, 1)["TRANSACTION_ID"]
    for table in ("transactions", "labels", "transaction_features"):
        corrected = ready.rows(table).filter(pl.col("transaction_id") == number)["amount"].to_list()
        assert corrected == ([77.7] if table != "transaction_features" or corrected else [])


def test_transactions_hold_no_label(ready: House) -> None:
    assert {"is_fraud", "fraud_scenario", "label_time"}.isdisjoint(ready.rows("transactions").columns)


def test_a_label_is_known_seven_days_after_its_transaction(ready: House) -> None:
    labels = ready.rows("labels")
    assert (labels["label_time"] - labels["event_time"]).unique().to_list() == [timedelta(days=7)]
    truth = messages().select(transaction_id=pl.col("TRANSACTION_ID").cast(pl.Int64), fraud=pl.col("TX_FRAUD") == 1)
    joined = labels.join(truth, on="transaction_id")
    assert joined["is_fraud"].to_list() == joined["fraud"].to_list()
    assert joined.height == labels.height


def test_every_transaction_of_the_range_has_its_feature_row(ready: House) -> None:
    first, last = (pl.lit(day).str.to_date() for day in DERIVED["transaction_features"])
    expected = ready.rows("transactions").filter(pl.col("event_date").is_between(first, last))
    assert sorted(ready.rows("transaction_features")["transaction_id"]) == sorted(expected["transaction_id"])


def test_the_model_that_passed_its_gate_scores_each_day(ready: House) -> None:
    model, promotion = (
        ready.rows(t).sort("event_date").row(0, named=True) for t in ("fraud_model", "fraud_promotions")
    )
    scores = ready.rows("fraud_scores").filter(pl.col("event_date") < pl.lit(NEXT_WEEK).str.to_date())
    assert promotion["promoted"]
    assert promotion["model_version"] == model["model_version"]
    assert scores["model_version"].unique().to_list() == [model["model_version"]]
    assert [str(day) for day in scores["model_as_of"].unique()] == [WEEK]
    scored = pl.col("event_date").is_between(*(pl.lit(day).str.to_date() for day in SCORED))
    features = ready.rows("transaction_features").filter(scored)
    assert sorted(scores["transaction_id"]) == sorted(features["transaction_id"])


def test_the_served_model_is_opened_from_the_lake_by_its_hash(ready: House) -> None:
    model, promotion = (
        ready.rows(t).sort("event_date").row(0, named=True) for t in ("fraud_model", "fraud_promotions")
    )
    served = stored.load(promotion["onnx"], sha256=model["sha256"])
    day = ready.rows("transaction_features").filter(pl.col("event_date") == pl.lit(WEEK).str.to_date())
    issued = ready.rows("fraud_scores").filter(pl.col("event_date") == pl.lit(WEEK).str.to_date())
    expected = day.select("transaction_id", again=served.score_rows(day))
    joined = issued.join(expected, on="transaction_id")
    assert joined.height == day.height
    assert joined["score"].to_list() == joined["again"].to_list()


def test_every_alert_is_an_issued_score_above_the_threshold_with_five_reasons(ready: House) -> None:
    alerts = ready.rows("fraud_alerts")
    above = ready.rows("fraud_scores").filter(pl.col("score") >= ready.rows("fraud_model")["alert_threshold"][0])
    assert alerts.height
    assert sorted(alerts["transaction_id"]) == sorted(above["transaction_id"])
    assert (alerts["reasons"].str.count_matches("\n") == 4).all()


def test_scores_rank_frauds_above_the_rest(ready: House) -> None:
    scores = ready.rows("fraud_scores").join(
        ready.rows("labels").select("transaction_id", "is_fraud"), on="transaction_id"
    )
    means = dict(scores.group_by("is_fraud").agg(pl.col("score").mean()).iter_rows())
    assert means[True] > 2 * means[False]


@pytest.mark.parametrize("asset", ["raw_transactions", *DERIVED])
def test_every_partition_names_where_its_data_came_from(ready: House, asset: str) -> None:
    day = DERIVED.get(asset, ("", "2018-04-20"))[1]
    assert manifest(ready.lake, f"fraud/{asset}", day)["origins"] == ORIGINS
    event = ready.instance.get_latest_materialization_event(dg.AssetKey(["fraud", asset]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["data_origin"].value == ", ".join(ORIGINS)


def test_models_and_evaluations_are_in_the_experiment_store(ready: House) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{ready.home}/mlflow/mlflow.db")
    for asset, metric in (("fraud_model", "training_rows"), ("fraud_evaluation", "average_precision")):
        experiment = client.get_experiment_by_name(asset)
        assert experiment is not None
        row = ready.rows(asset).sort("event_date").row(0, named=True)
        run = client.search_runs([experiment.experiment_id], order_by=["start_time"])[0]
        assert run.info.run_name == row["model_version"]
        assert run.data.metrics[metric] == row[metric]
        event = ready.instance.get_latest_materialization_event(dg.AssetKey(["fraud", asset]))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["mlflow_run"].value == run.info.run_id  # and back:
        assert run.data.tags["dagster.run_id"] == event.run_id
        assert run.data.tags["dagster.partition"] == WEEK


def test_a_week_whose_challenger_is_refused_is_served_by_the_champion_before(ready: House) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fitted", inverted)
        assert ready.materialize("fraud_model", NEXT_WEEK, NEXT_WEEK).success
    assert ready.materialize("fraud_promotions", NEXT_WEEK, NEXT_WEEK).success
    assert ready.materialize("fraud_champions", NEXT_WEEK, NEXT_WEEK).success
    assert ready.materialize("fraud_scores", NEXT_WEEK, NEXT_WEEK).success
    first, second = ready.rows("fraud_promotions").sort("valid_from").iter_rows(named=True)
    assert (second["promoted"], second["model_version"]) == (False, first["model_version"])
    scores = ready.rows("fraud_scores").filter(pl.col("event_date") == pl.lit(NEXT_WEEK).str.to_date())
    assert scores["model_version"].unique().to_list() == [first["model_version"]]
    assert [str(day) for day in scores["model_as_of"].unique()] == [WEEK]


def test_batch_follows_what_people_release_from_the_next_day_on(
    house: House, ready: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refused model, promoted all the same and rolled back: each takes the days that had no champion yet."""
    log, refused = AuditLog(house.lake.store), ready.rows("fraud_model").sort("event_date")["model_version"][-1]
    first = ready.rows("fraud_model").sort("event_date")["model_version"][0]

    def release(version: str, **why: str) -> int:
        candidate, span = RELEASABLE.candidate(house.lake, version), RELEASABLE.span(house.lake)
        return release_log.promote(log, RELEASABLE.name, candidate, span, actor="ann", reason="a trial", **why).number

    def champions() -> dict[str, tuple[str, int | None]]:
        rows = house.rows("fraud_champions").filter(pl.col("event_date") >= pl.lit(NEXT_WEEK).str.to_date())
        return {str(day): (v, n) for day, v, n in rows.select("event_date", "model_version", "release").iter_rows()}

    release(first)
    by_hand = release(refused, override="to see what it does")
    assert house.materialize("fraud_champions", "2018-07-25", "2018-07-26").success
    back = release_log.rollback(log, RELEASABLE.name, RELEASABLE.span(house.lake), actor="ann", reason="as expected")
    assert house.materialize("fraud_champions", "2018-07-25", "2018-07-27").success
    assert champions() == {
        "2018-07-25": (first, None),
        "2018-07-26": (refused, by_hand),
        "2018-07-27": (first, back.number),
    }
    for asset in ("transactions", "labels", "transaction_features", "fraud_scores"):
        assert house.materialize(asset, "2018-07-26", "2018-07-26").success
    day = pl.col("event_date") == pl.lit("2018-07-26").str.to_date()
    assert house.rows("fraud_scores").filter(day)["model_version"].unique().to_list() == [refused]
    monkeypatch.setattr(environments, "settings", lambda: Settings(home=house.home))
    assert reproduced("fraud/fraud_champions@2018-07-26")


def inverted(rows: pl.DataFrame, parameters: Mapping[str, Any]) -> Fitted:
    return fitted(rows.with_columns(~pl.col("is_fraud")), parameters)


def test_a_week_that_nobody_may_serve_has_a_promotions_partition_without_rows_and_stops_what_follows(
    house: House, ready: House
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gated, "decide", lambda *_: None)
        assert not house.materialize("fraud_promotions", NEXT_WEEK, NEXT_WEEK).success
    assert str(house.rows("fraud_promotions")["valid_from"].max()) == WEEK
    assert states(house.lake, ["fraud/fraud_promotions"])["fraud/fraud_promotions"][NEXT_WEEK].rows == 0


def test_materializing_everything_again_leaves_every_content_hash_as_it_was(ready: House) -> None:
    before = ready.hashes()
    assert all(ready.materialize(asset, *days).success for asset, days in AGAIN.items())
    assert ready.hashes() == before
