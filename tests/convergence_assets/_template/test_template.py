from datetime import date
from pathlib import Path

import dagster as dg

from convergence.arrivals.replay import replay
from convergence_assets._template import arrivals, definitions, features
from resources.arrivals import Sources
from resources.lake import LakeIOManager


def test_daily_values_count_and_average_each_entity() -> None:
    messages, _ = arrivals.history(None)
    events = messages.rename({"time": "event_time", "entity": "entity_id"})
    events = events.with_columns(event_date=events.collect()["event_time"].dt.date())

    values = features.daily_values(events).collect()

    assert values["events"].sum() == 14 * 24
    assert values["entity_id"].n_unique() == 5


def test_every_day_is_landed_and_made_into_features_with_its_contract_kept(tmp_path: Path) -> None:
    topic = arrivals.TOPIC
    list(replay(topic, None, tmp_path / "inbox", topic.first_day, topic.last_day))
    days = features.DAILY.get_partition_keys()
    whole = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    lake = LakeIOManager(root=str(tmp_path / "lake"))

    result = dg.materialize(
        list(definitions.defs.assets or []),  # pyright: ignore
        tags=whole,
        resources={"lake": lake, "sources": Sources(inbox=str(tmp_path / "inbox"))},
        instance=dg.DagsterInstance.ephemeral(),
    )

    assert result.success
    assert all(check.passed for check in result.get_asset_check_evaluations())
    rows = lake.lake.scan(arrivals.TOPIC.table).collect()
    assert rows.height == 14 * 24
    assert rows["event_date"].max() == date(2024, 1, 14)
