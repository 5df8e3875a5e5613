"""The monitoring of the fraud use case on made-up features and scores; the story from a shifted day to a retraining."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from convergence.errors import ConvergenceError
from convergence.lake.contracts import schema_of
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake, by_day
from convergence.monitoring import watch
from convergence.monitoring.contracts import ScoreReference
from convergence.monitoring.drift import DRIFT, STABLE
from convergence.monitoring.performance import performance_row
from convergence.monitoring.profiles import profile_rows
from convergence_assets._parts.gated import retraining
from convergence_assets.fraud.feature_views import MODEL_INPUT
from convergence_assets.fraud.features import DAILY
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.model_contracts import FraudScorePerformance
from convergence_assets.fraud.use_case import MODEL
from resources.lake import LakeIOManager
from resources.reports import Reports
from sensors.drift import drift_sensor
from sensors.reconcile import reconcile
from tests.resources.readings import range_tags

AS_OF, TODAY = date(2018, 7, 18), date(2018, 7, 26)
FIRST, LAST = MODEL.schedule.trained_on(AS_OF)
ROWS = 60  # a day


def features(first: date, last: date, seed: int = 0) -> pl.DataFrame:
    """Inputs of the model that do not change from day to day."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    random = np.random.default_rng([seed, first.toordinal()])
    columns = {
        name: random.random(len(days) * ROWS) < 0.3
        if name.startswith("is_")
        else random.lognormal(3, 1, len(days) * ROWS)
        for name in MODEL_INPUT
    }
    return pl.DataFrame({"event_date": [d for d in days for _ in range(ROWS)], **columns})


def scores(first: date, last: date, *, version: str = "2018-07-18.aa", as_of: date = AS_OF) -> pl.DataFrame:
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    number = len(days) * ROWS
    random = np.random.default_rng(first.toordinal())
    return pl.DataFrame(
        {
            "event_date": [d for d in days for _ in range(ROWS)],
            "transaction_id": np.arange(number),
            "score": random.beta(1, 9, number),
            "model_version": [version] * number,
            "model_as_of": [as_of] * number,
        }
    )


def reference(rows: pl.DataFrame | None = None, *, week: date = AS_OF, version: str = "2018-07-18.aa") -> pl.DataFrame:
    """What a champion gave the week of its gate."""
    gave = scores(*MODEL.schedule.gate(week)) if rows is None else rows
    about = {"event_date": week, "model_version": version, "model_as_of": AS_OF}
    return watch.shaped(ScoreReference, [profile_rows(gave, ["score"], **about)])


def test_the_reference_is_what_the_model_of_a_date_was_fitted_on() -> None:
    assert MODEL.schedule.trained_on(date(2018, 7, 18)) == (date(2018, 4, 11), date(2018, 7, 3))


def drifts(rows: pl.DataFrame) -> set[tuple[int, str]]:
    return set(rows.filter(verdict=DRIFT).select("window_days", "feature").iter_rows())


@pytest.fixture(scope="module")
def known() -> pl.DataFrame:
    """Profiles of the training days."""
    return watch.feature_profile_rows(features(FIRST, LAST), MODEL_INPUT)


def today(
    known: pl.DataFrame, rows: pl.DataFrame, issued: pl.DataFrame | None = None, given: pl.DataFrame | None = None
) -> pl.DataFrame:
    issued = scores(AS_OF, TODAY) if issued is None else issued
    given = reference() if given is None else given
    inputs = pl.concat([known, watch.feature_profile_rows(rows, MODEL_INPUT)])
    return watch.drift_rows(
        inputs,
        watch.score_profile_rows(issued),
        given,
        [TODAY],
        MODEL.schedule,
        fixed_by_the_day=MODEL.fixed_by_the_day,
    )


def test_days_like_those_of_the_training_show_no_drift(known: pl.DataFrame) -> None:
    found = today(known, features(AS_OF, TODAY))
    assert drifts(found) == set()
    assert set(found["window_days"]) == {1, 7}
    assert set(found.filter(window_days=7)["feature"]) == {*MODEL_INPUT, "score"}
    spans = found.select(pl.col("feature") == "score", "reference_first_day", "reference_last_day", "reference_rows")
    assert set(spans.rows()) == {
        (False, FIRST, LAST, 84 * ROWS),
        (True, date(2018, 7, 4), date(2018, 7, 10), 7 * ROWS),
    }


def test_one_shifted_day_is_seen_at_once(known: pl.DataFrame) -> None:
    shifted = pl.when(event_date=TODAY).then(pl.col("amount") * 3).otherwise("amount")
    assert drifts(today(known, features(AS_OF, TODAY).with_columns(amount=shifted))) == {(1, "amount")}


def test_what_the_calendar_fixes_is_compared_over_the_week_only(known: pl.DataFrame) -> None:
    found = today(known, features(AS_OF, TODAY).with_columns(is_weekend=True))
    assert drifts(found) == {(7, "is_weekend")}


def test_the_reference_follows_the_champion_of_the_day(known: pl.DataFrame) -> None:
    earlier = scores(AS_OF, TODAY, version="2018-07-11.bb", as_of=date(2018, 7, 11))
    found = today(known, features(AS_OF, TODAY), earlier, reference().head(0))
    assert found["reference_last_day"].unique().to_list() == [date(2018, 6, 26)]
    assert found["model_version"].unique().to_list() == ["2018-07-11.bb"]


def test_of_two_models_on_a_day_the_one_with_more_scores_is_the_champion(known: pl.DataFrame) -> None:
    canary = scores(TODAY, TODAY, version="2018-07-25.cc", as_of=date(2018, 7, 25)).head(5)
    found = today(known, features(AS_OF, TODAY), pl.concat([scores(AS_OF, TODAY), canary]))
    assert found["model_version"].unique().to_list() == ["2018-07-18.aa"]


def test_scores_are_held_against_what_their_model_gave_the_week_of_its_gate(known: pl.DataFrame) -> None:
    moved = scores(AS_OF, TODAY).with_columns(pl.col("score").sqrt())
    assert drifts(today(known, features(AS_OF, TODAY), moved)) == {(1, "score"), (7, "score")}
    gave = scores(*MODEL.schedule.gate(AS_OF)).with_columns(pl.col("score").sqrt())
    assert drifts(today(known, features(AS_OF, TODAY), moved, reference(gave))) == set()


def test_scores_of_another_model_count_neither_before_nor_now(known: pl.DataFrame) -> None:
    before = scores(AS_OF, TODAY - timedelta(days=2), version="2018-07-11.bb", as_of=date(2018, 7, 11))
    issued = pl.concat(
        [before.with_columns(pl.col("score").sqrt()), scores(TODAY - timedelta(days=1), TODAY)]
    )  # two days of its own, after another that gave other scores
    found = today(known, features(AS_OF, TODAY), issued)
    assert drifts(found) == set()
    assert found.filter(feature="score").select("window_days", "current_rows").rows() == [(1, ROWS), (7, 2 * ROWS)]
    other = reference(version="2018-07-11.bb")
    assert "score" not in set(today(known, features(AS_OF, TODAY), given=other)["feature"])


def test_the_newest_week_of_a_champion_is_its_reference(known: pl.DataFrame) -> None:
    week = date(2018, 7, 25)
    given = pl.concat([reference(), reference(week=week), reference(week=date(2018, 8, 1))])
    found = today(known, features(AS_OF, TODAY), given=given).filter(feature="score")
    assert found["reference_last_day"].unique().to_list() == [date(2018, 7, 17)]


def test_a_day_without_scores_has_no_rows(known: pl.DataFrame) -> None:
    assert today(known, features(AS_OF, TODAY), scores(AS_OF, TODAY - timedelta(days=1))).is_empty()


def test_a_champion_older_than_the_profiles_is_an_error(known: pl.DataFrame) -> None:
    old = scores(AS_OF, TODAY, version="old", as_of=date(2018, 4, 1))
    with pytest.raises(ConvergenceError, match=r"on which the champion old was fitted, .*: promote a newer model"):
        today(known, features(AS_OF, TODAY), old)


JUDGED = date(2018, 8, 1)


def judged(*, baseline: float = 0.5, rows: pl.DataFrame | None = None, known_until: int = 7) -> dict[str, Any]:
    issued = scores(AS_OF, date(2018, 7, 24)) if rows is None else rows
    random = np.random.default_rng(0)
    happened = pl.datetime(2018, 7, 18, time_unit="us", time_zone="UTC") + pl.duration(
        days=(pl.col("event_date") - AS_OF).dt.total_days(), hours=12
    )
    labels = issued.select(
        "event_date",
        "transaction_id",
        customer_id=pl.col("transaction_id") % 50,
        is_fraud=pl.Series(random.random(issued.height)) < pl.col("score"),
        label_time=happened + pl.duration(days=known_until),
    )
    promotions = pl.DataFrame({"challenger_version": ["2018-07-18.aa"], "gate_average_precision": [baseline]})
    return performance_row(MODEL, issued, labels, promotions, JUDGED)


def test_a_week_of_scores_is_judged_once_all_its_labels_are_known() -> None:
    row = judged()
    assert (row["first_day"], row["last_day"]) == (date(2018, 7, 18), date(2018, 7, 24))
    assert row["rows"] == 7 * ROWS
    assert 0 < row["base_rate"] < row["average_precision"] < 1
    frame = pl.DataFrame([row], schema=schema_of(FraudScorePerformance))
    assert FraudScorePerformance.validate(frame).height == 1


def test_labels_known_later_are_not_seen() -> None:
    assert judged(known_until=12)["rows"] == 2 * ROWS


def test_scores_worse_than_at_the_gate_call_for_retraining() -> None:
    assert judged(baseline=0.9)["verdict"] == DRIFT
    assert judged(baseline=0.1)["verdict"] == STABLE
    assert judged(baseline=0.9)["effect"] == pytest.approx((0.9 - judged()["average_precision"]) / 0.05)


def test_scores_of_a_model_that_no_gate_measured_are_an_error() -> None:
    with pytest.raises(ConvergenceError, match="the gate did not measure someone"):
        judged(rows=scores(AS_OF, date(2018, 7, 24), version="someone"))


@dataclass
class House:
    """The monitoring assets over a lake in which features and scores are put by hand."""

    home: Path
    lake: Lake
    instance: dg.DagsterInstance

    def __post_init__(self) -> None:
        @dg.asset(key_prefix="fraud", partitions_def=FRAUD.weeks, backfill_policy=dg.BackfillPolicy.single_run())
        def fraud_model() -> None: ...

        @dg.asset(key_prefix="fraud", partitions_def=FRAUD.weeks, deps=[fraud_model],
                  backfill_policy=dg.BackfillPolicy.single_run())  # fmt: skip
        def fraud_promotions() -> None: ...

        sources = [
            dg.AssetSpec(["fraud", name], partitions_def=days, metadata={"dagster/table_name": f"fraud/{name}"})
            .with_io_manager_key("lake")
            for name, days in (
                ("transaction_features", DAILY), ("fraud_scores", FRAUD.days), ("score_references", FRAUD.weeks),
            )
        ]  # fmt: skip
        self.sensor = drift_sensor([retraining(MODEL)])
        self.resources = {"lake": LakeIOManager(root=self.lake.root), "reports": Reports(home=str(self.home))}
        watched = FRAUD.watched
        made = [watched.profiles, watched.score_profiles, watched.drift, watched.report]
        self.definitions = dg.Definitions(
            assets=[*sources, *made, fraud_model, fraud_promotions],
            asset_checks=[watched.checks[0]],
            sensors=[reconcile, self.sensor],
            resources=self.resources,
        )

    def put(self, table: str, rows: pl.DataFrame) -> None:
        parts, name = by_day(rows), f"fraud/{table}"
        self.lake.replace(name, parts, build_manifest(parts, "replace", Provenance("test", "1")), self.lake.open(name))

    def tick(self, sensor: dg.SensorDefinition, cursor: str | None = None) -> Any:
        context = dg.build_sensor_context(self.instance, cursor, definitions=self.definitions, resources=self.resources)
        return sensor.evaluate_tick(context)

    def run(self, keys: Sequence[dg.AssetKey], tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=list(keys),
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def settle(self) -> list[str]:
        """Reconcile until nothing is asked for: the tables that were made, in order."""
        made, cursor = [], None
        while requests := (result := self.tick(reconcile, cursor)).run_requests:
            cursor = result.cursor
            for request in requests:
                assert self.run(request.asset_selection, dict(request.tags)).success
                made += ["/".join(key.path) for key in request.asset_selection]
        return made

    def alarm(self) -> dg.AssetCheckEvaluation:
        check = dg.AssetCheckKey(dg.AssetKey(["fraud", "drift"]), "drift")
        record = self.instance.get_latest_asset_check_evaluation_record(check)
        assert record is not None
        assert record.event is not None
        evaluation = record.event.asset_check_evaluation
        assert evaluation is not None
        return evaluation


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("house")
    with dg.DagsterInstance.ephemeral() as instance:
        house = House(home, Lake(str(home / "lake")), instance)
        house.put("transaction_features", features(FIRST, TODAY))
        house.put("fraud_scores", scores(AS_OF, TODAY))
        house.put("score_references", pl.concat([reference(), reference(week=date(2018, 7, 25))]))
        yield house


def test_a_shifted_day_fails_the_check_by_name_and_asks_for_one_retraining(house: House) -> None:
    assert set(house.settle()) == {"fraud/feature_profiles", "fraud/score_profiles", "fraud/drift"}
    assert house.alarm().passed
    assert "fraud/drift of 2018-07-26 shows no drift" in house.tick(house.sensor).skip_message

    house.put("transaction_features", features(TODAY, TODAY).with_columns(pl.col("amount") * 100))
    assert house.settle() == ["fraud/feature_profiles", "fraud/drift"]
    alarm = house.alarm()
    assert not alarm.passed
    assert alarm.severity is dg.AssetCheckSeverity.ERROR
    assert str(alarm.description).startswith("drift: amount. Look at fraud/drift_report")
    assert {record.data["feature"] for record in alarm.metadata["verdicts"].records} == {"amount"}

    (request,) = house.tick(house.sensor).run_requests
    assert request.tags["cause"] == "drift:amount"
    assert request.partition_key == "2018-07-25"
    assert [key.path[-1] for key in request.asset_selection] == ["fraud_model", "fraud_promotions"]
    assert house.run(request.asset_selection, {**request.tags, "dagster/partition": request.partition_key}).success
    assert "retrained for the drift of 2018-07-26; not again for drift before 2018-08-02" in (
        house.tick(house.sensor).skip_message
    )


def test_the_weekly_page_lies_in_the_home_folder_and_is_linked_without_naming_it(house: House) -> None:
    house.settle()
    report = FRAUD.watched.report
    assert report.partitions_def is not None
    week = report.partitions_def.get_partition_keys()[0]
    result = house.run([report.key], range_tags(week, week))
    assert result.success
    (event,) = result.asset_materializations_for_node("fraud__drift_report")
    assert event.metadata["report"].value == f"reports/fraud/drift/{week}.html"
    assert (house.home / "reports" / "fraud" / "drift" / f"{week}.html").stat().st_size > 100_000
    row = house.lake.scan("fraud/drift_report").collect().row(0, named=True)
    assert (row["reference_rows"], row["current_rows"]) == (84 * ROWS, 7 * ROWS)
