"""The drift sensor over a real lake: its requests are executed here, as the daemon would execute them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.monitoring.drift import DRIFT, STABLE, WATCH
from resources.lake import LakeIOManager
from sensors import drift as module
from sensors.drift import CALLED_ON, RETRAINING, Retraining, drift_sensor

WEEKLY = dg.WeeklyPartitionsDefinition("2024-01-03", end_date="2024-03-06", day_offset=3)
FIRST = date(2024, 1, 10)
DRIFT_TABLE, PERFORMANCE_TABLE = "uc/drift", "uc/performance"


@dataclass
class Platform:
    """Tables of verdicts, a model and what promotes it, the sensor, and a daemon that knows run keys."""

    lake: Lake
    instance: dg.DagsterInstance
    fails: bool = False
    said: str = ""
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        @dg.asset(partitions_def=WEEKLY, key_prefix="uc", backfill_policy=dg.BackfillPolicy.single_run())
        def model() -> None:
            if self.fails:
                raise dg.Failure("out of order")

        @dg.asset(partitions_def=WEEKLY, key_prefix="uc", deps=[model], backfill_policy=dg.BackfillPolicy.single_run())
        def promotions() -> None: ...

        self.assets = [model, promotions]
        verdicts = ((DRIFT_TABLE, "drift"), (PERFORMANCE_TABLE, "performance"))
        retraining = Retraining("uc/model", verdicts, (model.key, promotions.key), WEEKLY)
        broken = Retraining("uc/other", (("No/Table", "drift"),), (model.key,), WEEKLY)
        self.sensor = drift_sensor([retraining, broken])
        self.resources = {"lake": LakeIOManager(root=self.lake.root)}
        self.definitions = dg.Definitions(assets=self.assets, sensors=[self.sensor], resources=self.resources)

    def find(self, day: date, verdicts: Mapping[str, str], table: str = DRIFT_TABLE) -> None:
        """The verdicts of a day; the effect grows with the place."""
        rows = pl.DataFrame(
            [(day, name, float(n), verdict) for n, (name, verdict) in enumerate(verdicts.items())],
            schema={"event_date": pl.Date, "feature": pl.String, "effect": pl.Float64, "verdict": pl.String},
            orient="row",
        )
        parts = {str(day): rows}
        manifest = build_manifest(parts, "replace", Provenance("test", "1"))
        self.lake.replace(table, parts, manifest, self.lake.open(table))

    def tick(self) -> list[dg.RunRequest]:
        """One evaluation; like the daemon, passes over run keys that it has seen."""
        context = dg.build_sensor_context(self.instance, definitions=self.definitions, resources=self.resources)
        result = self.sensor.evaluate_tick(context)
        self.said = result.skip_message or ""
        new = [r for r in result.run_requests or () if r.run_key not in self.seen]
        self.seen |= {str(r.run_key) for r in new}
        return new

    def run(self) -> list[dg.RunRequest]:
        """A tick, and the runs that it asked for."""
        requests = self.tick()
        for request in requests:
            dg.materialize(
                self.assets,
                selection=list(request.asset_selection or ()),
                partition_key=request.partition_key,
                tags=dict(request.tags),
                instance=self.instance,
                raise_on_error=False,
            )
        return requests


@pytest.fixture
def platform(lake: Lake, instance: dg.DagsterInstance) -> Platform:
    return Platform(lake, instance)


def days(number: int) -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(number)]


TEN = {f"feature_{n}": DRIFT for n in range(10)}


def test_the_run_makes_the_newest_model_again_and_names_the_worst_feature(platform: Platform) -> None:
    platform.find(date(2024, 1, 20), {"amount": DRIFT, "hour": DRIFT, "count": WATCH})
    (request,) = platform.tick()
    assert request.partition_key == "2024-01-17"
    assert request.asset_selection == [a.key for a in platform.assets]
    assert request.tags["cause"] == "drift:hour"
    assert (request.tags[RETRAINING], request.tags[CALLED_ON]) == ("uc/model", "2024-01-20")


def test_ten_features_that_drift_twenty_times_lead_to_one_retraining(platform: Platform) -> None:
    requests = []
    for n in range(20):
        platform.find(days(7)[n % 7], dict(list(TEN.items())[n % 10 :]))
        requests += platform.run()
    assert len(requests) == 1
    assert len(platform.instance.get_runs()) == 1
    assert "feature_9 on 2024-01-16: retrained for the drift of 2024-01-10; not again for drift before 2024-01-17" in (
        platform.said
    )


def test_drift_that_lasts_is_answered_once_a_cool_down_of_event_time(platform: Platform) -> None:
    answered = []
    for day in days(22):
        platform.find(day, TEN)
        answered += [request.tags[CALLED_ON] for request in platform.run()]
    assert answered == ["2024-01-10", "2024-01-17", "2024-01-24", "2024-01-31"]


def test_only_the_newest_day_calls(platform: Platform) -> None:
    platform.find(FIRST, TEN)
    platform.find(FIRST + timedelta(days=1), {"amount": STABLE, "hour": WATCH})
    assert platform.tick() == []
    assert "uc/drift of 2024-01-11 shows no drift, uc/performance is empty" in platform.said


def test_performance_calls_as_well_and_shares_the_cool_down(platform: Platform) -> None:
    platform.find(FIRST, {"amount": STABLE})
    platform.find(FIRST, {"average_precision": DRIFT}, PERFORMANCE_TABLE)
    (request,) = platform.run()
    assert request.tags["cause"] == "performance:average_precision"
    platform.find(FIRST + timedelta(days=2), TEN)
    assert platform.run() == []


def test_nothing_is_started_while_a_retraining_runs(platform: Platform) -> None:
    platform.find(FIRST, TEN)
    tags = {RETRAINING: "uc/model", CALLED_ON: "2024-01-01"}
    platform.instance.add_run(
        dg.DagsterRun(job_name="x", run_id="abcdef0123", tags=tags, status=dg.DagsterRunStatus.STARTED)
    )
    assert platform.tick() == []
    assert "run abcdef01 is retraining" in platform.said


def test_a_failed_retraining_is_tried_again_after_a_while_only(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.find(FIRST, TEN)
    platform.fails = True
    assert [r.run_key for r in platform.run()] == ["uc/model/2024-01-10/1"]
    assert platform.run() == []
    assert "the last of 1 failed retrainings ended less than 0:10:00 ago; it is tried again later" in platform.said
    monkeypatch.setattr(module, "_AFTER_FAILURE", timedelta(0))
    assert [r.run_key for r in platform.run()] == ["uc/model/2024-01-10/2"]
    platform.fails = False
    assert [r.run_key for r in platform.run()] == ["uc/model/2024-01-10/3"]
    assert platform.run() == []
    platform.find(FIRST + timedelta(days=7), TEN)
    assert [r.run_key for r in platform.run()] == ["uc/model/2024-01-17/1"]


def test_the_wait_doubles_up_to_a_day(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.find(FIRST, TEN)
    platform.fails = True
    with monkeypatch.context() as patch:
        patch.setattr(module, "_AFTER_FAILURE", timedelta(0))
        assert [len(platform.run()) for _ in range(3)] == [1, 1, 1]
    assert platform.tick() == []
    assert "the last of 3 failed retrainings ended less than 0:40:00 ago" in platform.said
    monkeypatch.setattr(module, "_AFTER_FAILURE", timedelta(days=10))
    assert platform.tick() == []
    assert "less than 1 day, 0:00:00 ago" in platform.said


def test_drift_before_the_first_model_has_nothing_to_make_again(platform: Platform) -> None:
    platform.find(date(2024, 1, 2), TEN)
    assert platform.tick() == []
    assert "drift:feature_9 on 2024-01-02, before the first as-of date of a model" in platform.said


def test_a_table_that_cannot_be_read_is_named_and_stops_no_other(platform: Platform) -> None:
    platform.find(FIRST, TEN)
    assert len(platform.run()) == 1
    assert platform.tick() == []
    assert "uc/other: table 'No/Table': expected lower-case words" in platform.said


def test_a_day_whose_rows_are_gone_does_not_count_as_newest(platform: Platform) -> None:
    platform.find(FIRST, TEN)
    platform.find(FIRST + timedelta(days=1), {})
    assert [r.tags[CALLED_ON] for r in platform.tick()] == ["2024-01-10"]
