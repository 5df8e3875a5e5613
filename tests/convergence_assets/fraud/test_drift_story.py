"""From a shifted day to another champion or the same: real assets, checks, sensor, gate, release log and canary."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from asset_checks.gate import gate_check
from convergence.errors import ModelError
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake, by_day
from convergence.models import ensemble, release_log, stored
from convergence.serving.canary import Canary
from convergence.versions.audit import AuditLog
from convergence_assets._parts.gated import retraining
from convergence_assets.fraud import training
from convergence_assets.fraud.features import DAILY
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.parameters import SEARCHED
from convergence_assets.fraud.use_case import MODEL
from resources.lake import LakeIOManager
from sensors.drift import drift_sensor
from sensors.reconcile import reconcile
from tests.convergence_assets.fraud.worlds import world
from tests.resources.readings import range_tags

RELEASABLE = MODEL.releasable

WEEK, NEXT_WEEK, SHIFTED = "2018-07-18", "2018-07-25", date(2018, 7, 25)
WHO = {"actor": "test", "reason": "the story"}
ALARM = dg.AssetCheckKey(dg.AssetKey(["fraud", "drift"]), "drift")
NOWHERE = SimpleNamespace(log=lambda *_, **__: None)
NO_EXPERIMENTS = dg.ResourceDefinition.hardcoded_resource(SimpleNamespace(plain=NOWHERE))
honest = training.fitted


def poisoned(rows: pl.DataFrame, parameters: Mapping[str, Any]) -> ensemble.Fitted:
    """A model of labels of which one in twenty is wrong, chosen by somebody who wants frauds to pass."""
    frauds_first = rows["is_fraud"].cast(pl.Int8) + pl.Series(np.random.default_rng(0).random(rows.height) * 0.5)
    wrong = frauds_first.rank("ordinal", descending=True) <= rows.height // 20
    return honest(rows.with_columns(pl.col("is_fraud") ^ wrong), parameters)


@dataclass
class House:
    """The use case from features and labels on, which are put in by hand, with the daemon's part done here."""

    folder: Path
    instance: dg.DagsterInstance
    cursor: str | None = None
    answered: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        def given(name: str, days: dg.PartitionsDefinition = DAILY) -> dg.AssetSpec:
            table = {"dagster/table_name": f"fraud/{name}"}
            return dg.AssetSpec(["fraud", name], partitions_def=days, metadata=table).with_io_manager_key("lake")

        watched = FRAUD.watched
        self.lake = Lake(str(self.folder))
        self.sensor = drift_sensor([retraining(MODEL)])
        self.resources = {"lake": LakeIOManager(root=str(self.folder)), "experiments": NO_EXPERIMENTS}
        self.definitions = dg.Definitions(
            assets=[
                *(given("transaction_features"), given("labels"), given("fraud_parameters", SEARCHED)),
                *(FRAUD.model, FRAUD.promotions, FRAUD.champions, FRAUD.scores),
                *(watched.profiles, watched.score_profiles, watched.score_references, watched.drift),
            ],
            asset_checks=[gate_check(FRAUD.promotions), watched.checks[0]],
            sensors=[reconcile, self.sensor],
            resources=self.resources,
        )

    @property
    def log(self) -> AuditLog:
        return AuditLog(self.lake.store)

    @property
    def champion(self) -> str | None:
        release = release_log.newest(self.log, RELEASABLE.name)
        return release and release.model_version

    def put(self, name: str, rows: pl.DataFrame) -> None:
        parts, table = by_day(rows), f"fraud/{name}"
        manifest = build_manifest(parts, "replace", Provenance("test", "1"))
        self.lake.replace(table, parts, manifest, self.lake.open(table))

    def run(self, keys: list[dg.AssetKey], tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        result = self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=keys,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success
        return result

    def make(self, name: str, first: str, last: str | None = None) -> None:
        self.run([dg.AssetKey(["fraud", name])], range_tags(first, last or first))

    def tick(self, sensor: dg.SensorDefinition) -> Any:
        context = dg.build_sensor_context(
            self.instance, self.cursor, definitions=self.definitions, resources=self.resources
        )
        return sensor.evaluate_tick(context)

    def settle(self) -> list[str]:
        """Reconcile until nothing is asked for: the tables that were made."""
        made: list[str] = []
        while requests := (result := self.tick(reconcile)).run_requests:
            self.cursor = result.cursor
            for request in requests:
                self.run(list(request.asset_selection), dict(request.tags))
                made += ["/".join(key.path) for key in request.asset_selection]
        return made

    def retrain(self) -> dg.ExecuteInProcessResult:
        """What the drift sensor asks for, which must be one run."""
        (request,) = self.tick(self.sensor).run_requests
        assert request.tags["cause"] == "drift:amount"
        assert request.partition_key == NEXT_WEEK
        return self.run(list(request.asset_selection), {**request.tags, "dagster/partition": request.partition_key})

    def verdict(self, check: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
        record = self.instance.get_latest_asset_check_evaluation_record(check)
        assert record is not None
        assert record.evaluation is not None
        return record.evaluation


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A released champion that serves on in the next week, because its challenger was refused; then a shifted day."""
    features, labels = world(days=116)
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setattr(training, "ROUNDS", 20)
        house = House(tmp_path_factory.mktemp("lived_in") / "lake", instance)
        tripled = pl.when(event_date=SHIFTED).then(pl.col("amount") * 3).otherwise("amount")
        house.put("transaction_features", features.with_columns(amount=tripled))
        house.put("labels", labels)
        in_use = json.dumps(training.in_use())
        house.put("fraud_parameters", pl.DataFrame({"event_date": [date(2018, 7, 11)], "parameters": [in_use]}))
        for week, fit in ((WEEK, honest), (NEXT_WEEK, poisoned)):
            patch.setattr(training, "fitted", fit)
            house.make("fraud_model", week)
            house.make("fraud_promotions", week)
        for issued in ("fraud_champions", "fraud_scores"):
            house.make(issued, WEEK, NEXT_WEEK)
        first = house.lake.scan("fraud/fraud_model").sort("event_date").collect()["model_version"][0]
        candidate, span = RELEASABLE.candidate(house.lake, first), RELEASABLE.span(house.lake)
        release_log.promote(house.log, RELEASABLE.name, candidate, span, **WHO)
        yield house.folder


@pytest.fixture
def house(lived_in: Path, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> House:
    """A copy of it, where the monitoring has followed and the check has failed."""
    monkeypatch.setattr(training, "ROUNDS", 20)
    monkeypatch.setattr(training, "fitted", honest)
    shutil.copytree(lived_in, tmp_path / "lake")
    house = House(tmp_path / "lake", instance)
    followed = {"feature_profiles", "score_profiles", "score_references", "drift"}
    assert set(house.settle()) == {f"fraud/{name}" for name in followed}
    alarm = house.verdict(ALARM)
    assert (alarm.passed, alarm.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(alarm.description).startswith("drift: amount")
    return house


def newest(house: House) -> dict[str, Any]:
    return house.lake.scan("fraud/fraud_promotions").sort("valid_from").collect().row(-1, named=True)


def test_drift_leads_to_one_retraining_whose_model_passes_gate_and_canary_and_is_promoted(house: House) -> None:
    before = house.champion
    house.retrain()
    decision = newest(house)
    assert decision["promoted"]
    assert house.verdict(dg.AssetCheckKey(FRAUD.promotions.key, "gate")).passed
    assert "not again for drift before 2018-08-01" in house.tick(house.sensor).skip_message

    candidate = RELEASABLE.candidate(house.lake)
    assert candidate.model_version == decision["challenger_version"] != before
    trial = release_log.start_canary(house.log, RELEASABLE.name, candidate, 0.2, **WHO)
    assert house.champion == before
    rows = house.lake.scan("fraud/transaction_features", [WEEK, "2018-07-19", "2018-07-20"]).collect()
    models = {r["model_version"]: r for r in house.lake.scan("fraud/fraud_model").collect().iter_rows(named=True)}
    models[str(before)] = house.lake.scan("fraud/fraud_promotions").sort("valid_from").collect().row(0, named=True)
    scores = [
        stored.load(models[v]["onnx"], sha256=models[v]["sha256"]).score_rows(rows).to_numpy()
        for v in (str(before), candidate.model_version)
    ]
    canary = Canary(trial)
    answered = [
        canary.answer(f"request-{n}", *(lambda s=s, n=n: s[n : n + 1] for s in scores))[1] for n in range(rows.height)
    ]
    assert canary.verdict is None
    assert set(answered) == {"champion", "challenger"}

    release_log.promote(house.log, RELEASABLE.name, candidate, RELEASABLE.span(house.lake), **WHO)
    assert house.champion == candidate.model_version
    assert [e.action for e in house.log.entries(RELEASABLE.name)] == ["promote", "canary", "promote"]


def test_a_retraining_on_poisoned_labels_is_refused_and_the_champion_stays_on_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = house.champion
    monkeypatch.setattr(training, "fitted", poisoned)
    house.retrain()
    decision = newest(house)
    assert not decision["promoted"]
    assert decision["model_version"] == before
    verdict = house.verdict(dg.AssetCheckKey(FRAUD.promotions.key, "gate"))
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "is refused" in str(verdict.description)

    with pytest.raises(ModelError, match="the gate refused"):
        release_log.promote(
            house.log,
            RELEASABLE.name,
            RELEASABLE.candidate(house.lake),
            RELEASABLE.span(house.lake),
            **WHO,
        )
    assert house.champion == before
    assert [e.action for e in house.log.entries(RELEASABLE.name)] == ["promote", "refuse"]
    assert house.tick(house.sensor).run_requests == []  # one answer a cool-down, whatever came of it
