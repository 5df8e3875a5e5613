"""The arrival sensor over a real drop folder and lake, and the landing that it asks for."""

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from convergence.arrivals.topics import Topic
from convergence.lake.tables import Lake
from resources.arrivals import TOPIC, Sources, landing_asset
from resources.lake import LakeIOManager
from sensors.arrivals import arrival_sensor
from tests.resources.readings import DAILY, DAYS

Time = Annotated[pl.Datetime, "us", "UTC"]


class RawReading(pa.DataFrameModel):
    event_date: date
    event_time: Time
    arrived_at: Time
    value: int = pa.Field(ge=0)
    source: str
    offset: int


def topic(name: str) -> Topic:
    return Topic(
        name=name,
        table=f"weather/raw_{name}",
        contract=RawReading,
        first_day=date.fromisoformat(DAYS[0]),
        last_day=date.fromisoformat(DAYS[-1]),
        late_after=timedelta(hours=48),
        assumed_lateness=timedelta(0),
        clock="event_time",
        key="value",
        renames={},
        history=lambda _: (pl.LazyFrame(), "made here"),
    )


WIND, RAIN = topic("wind"), topic("rain")


@dataclass
class Platform:
    lake: Lake
    instance: dg.DagsterInstance
    inbox: Path
    said: str = ""
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.resources = {"lake": LakeIOManager(root=self.lake.root), "sources": Sources(inbox=str(self.inbox))}
        self.assets = [landing_asset(t, partitions_def=DAILY) for t in (WIND, RAIN)]

    def drop(self, of: Topic, name: str, *values: int, day: str = DAYS[2]) -> None:
        folder = self.inbox / of.name
        folder.mkdir(parents=True, exist_ok=True)
        times = [datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=n) for n in range(len(values))]
        frame = pl.DataFrame({"event_time": times, "value": values}, schema_overrides={"value": pl.Int64})
        frame.with_columns(pl.col("event_time").cast(pl.String)).write_csv(folder / name)

    def tick(self) -> list[dg.RunRequest]:
        """One evaluation; like the daemon, passes over run keys that it has seen."""
        sensor = arrival_sensor([WIND, RAIN])
        definitions = dg.Definitions(assets=self.assets, resources=self.resources, sensors=[sensor])
        result = sensor.evaluate_tick(
            dg.build_sensor_context(self.instance, definitions=definitions, resources=self.resources)
        )
        self.said = result.skip_message or ""
        new = [r for r in result.run_requests or () if r.run_key not in self.seen]
        self.seen |= {r.run_key or "" for r in new}
        return new

    def land(self, of: Topic) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            self.assets,
            selection=[self.assets[[WIND, RAIN].index(of)]],
            partition_key=DAYS[-1],
            tags={TOPIC: of.name},
            resources=self.resources,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=self.instance,
        )

    def values(self, of: Topic) -> dict[str, list[int]]:
        rows = self.lake.scan(of.table).sort("event_date", "value").collect()
        return {str(d): p["value"].to_list() for (d,), p in rows.partition_by("event_date", as_dict=True).items()}


@pytest.fixture
def platform(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path) -> Platform:
    return Platform(lake, instance, tmp_path / "inbox")


def test_an_empty_inbox_asks_for_nothing_and_says_so(platform: Platform) -> None:
    assert platform.tick() == []
    assert platform.said == "wind, rain: nothing new in drop folder"


def test_new_files_ask_for_one_landing_of_their_topic(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1)
    platform.drop(RAIN, "b.csv", 2)
    (request,) = platform.tick()
    assert request.asset_selection == [dg.AssetKey(["weather", "raw_rain"])]
    assert request.partition_key == DAYS[-1]
    assert request.tags["cause"] == "2 new in rain"


def test_each_topic_is_landed_by_a_run_of_its_own(platform: Platform) -> None:
    platform.drop(WIND, "a.csv", 1)
    platform.drop(RAIN, "a.csv", 1)
    assert [r.asset_selection for r in platform.tick()] == [[a.key] for a in platform.assets]


def test_a_set_of_files_is_asked_for_once(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1)
    assert len(platform.tick()) == 1
    assert platform.tick() == []


def test_a_further_file_is_asked_for_although_the_first_has_not_landed(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1)
    platform.tick()
    platform.drop(RAIN, "b.csv", 2)
    assert len(platform.tick()) == 1


def test_a_landed_file_is_not_asked_for_again(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1)
    platform.tick()
    platform.land(RAIN)
    platform.seen.clear()
    assert platform.tick() == []
    assert platform.said == "wind, rain: nothing new in drop folder"


def test_the_same_content_under_another_name_is_not_asked_for_again(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1)
    platform.land(RAIN)
    platform.drop(RAIN, "copy of a.csv", 1)
    assert platform.tick() == []


def test_a_file_that_is_still_being_written_is_left_alone(platform: Platform) -> None:
    platform.drop(RAIN, ".a.csv", 1)
    assert platform.tick() == []


def test_a_landing_takes_all_that_has_arrived_on_its_own_days(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1, 2, day=DAYS[2])
    platform.drop(RAIN, "b.csv", 3, day=DAYS[5])
    platform.land(RAIN)
    assert platform.values(RAIN) == {DAYS[2]: [1, 2], DAYS[5]: [3]}


def test_a_landing_reports_exactly_the_days_that_it_touched(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1, day=DAYS[2])
    platform.land(RAIN)
    platform.drop(RAIN, "b.csv", 3, day=DAYS[5])
    events = platform.land(RAIN).get_asset_materialization_events()
    assert [e.partition for e in events] == [DAYS[5]]
    assert events[0].step_materialization_data.materialization.metadata["dagster/partition_row_count"].value == 1


def test_a_second_landing_of_the_same_files_touches_nothing(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1)
    platform.land(RAIN)
    assert platform.land(RAIN).get_asset_materialization_events() == []
    assert platform.values(RAIN) == {DAYS[2]: [1]}


def test_a_bad_message_is_set_aside_and_the_others_land(platform: Platform) -> None:
    platform.drop(RAIN, "a.csv", 1, -5, 2)
    result = platform.land(RAIN)
    assert result.success
    assert platform.values(RAIN) == {DAYS[2]: [1, 2]}
    assert platform.lake.scan("weather/raw_rain_rejected").collect().height == 1
    (summary,) = (e for e in result.get_asset_check_evaluations() if not e.passed)
    assert summary.severity is dg.AssetCheckSeverity.WARN
    assert summary.metadata["rows_rejected"].value == 1


def test_a_landing_is_the_trace_of_its_run(platform: Platform, tmp_path: Path) -> None:
    platform.resources["lake"] = LakeIOManager(root=platform.lake.root, traces=str(tmp_path / "traces"))
    platform.drop(WIND, "a.csv", 1, 2)
    result = platform.land(WIND)
    (span,) = [json.loads(line) for file in (tmp_path / "traces").iterdir() for line in file.read_text().splitlines()]
    assert span["context"]["trace_id"] == f"0x{result.run_id.replace('-', '')}"
    assert (span["name"], span["attributes"]["messages"]) == ("materialize weather/raw_wind", 2)
