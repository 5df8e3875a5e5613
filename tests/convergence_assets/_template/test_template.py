"""From messages to scores: what the use case makes of its own history, run as Dagster runs it."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import polars as pl
import pytest

from convergence.arrivals.replay import replay
from convergence.lake.tables import Lake
from convergence_assets._template import arrivals, datasets, definitions, features
from convergence_assets._template.model import GATED
from resources.configured import resources
from resources.environments import Settings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class House:
    """A deployment in a folder of its own."""

    settings: Settings
    instance: dg.DagsterInstance

    @property
    def lake(self) -> Lake:
        return resources(self.settings)["lake"].lake

    def materialize(self, partitions: dg.PartitionsDefinition | None, *assets: dg.AssetsDefinition | str) -> bool:
        """All partitions of assets that share them, in one run."""
        assert partitions is not None
        keys = partitions.get_partition_keys()
        mine = dg.Definitions(resources=resources(self.settings), executor=dg.in_process_executor)
        job = dg.Definitions.merge(definitions.defs, mine).resolve_implicit_global_asset_job_def()
        span = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        return job.execute_in_process(
            instance=self.instance, asset_selection=list(map(_key, assets)), tags=span, run_config=QUIET
        ).success


def _key(asset: dg.AssetsDefinition | str) -> dg.AssetKey:
    return dg.AssetKey(["template", asset]) if isinstance(asset, str) else asset.key


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Everything materialized once."""
    home, topic = tmp_path_factory.mktemp("home"), arrivals.TOPIC
    list(replay(topic, None, home / "inbox", topic.first_day, topic.last_day))
    with dg.DagsterInstance.ephemeral() as instance:
        house = House(Settings(home=home), instance)
        watched = GATED.watched
        tables = (features.template_events, features.template_labels, features.template_features)
        assert house.materialize(features.DAILY, "raw_template_events", *tables, watched.profiles)
        assert house.materialize(GATED.weeks, GATED.model, GATED.promotions, watched.score_references)
        assert house.materialize(GATED.days, GATED.champions, GATED.scores)
        assert house.materialize(GATED.days, watched.score_profiles, watched.drift)
        yield house


def test_each_event_is_scored_by_the_champion_of_its_day(house: House) -> None:
    scores = house.lake.scan("template/template_scores").collect()
    events = house.lake.scan("template/template_events").collect()
    days = pl.Series(GATED.days.get_partition_keys()).str.to_date()
    assert set(scores["event_id"]) == set(events.filter(pl.col("event_date").is_in(days.implode()))["event_id"])
    versions = house.lake.scan("template/template_model").collect()["model_version"]
    assert set(scores["model_version"]) <= set(versions)


def test_the_gate_lets_the_first_model_serve(house: House) -> None:
    first = house.lake.scan("template/template_promotions").sort("event_date").collect().row(0, named=True)
    assert first["promoted"], first["reason"]


def test_scores_tell_outcomes_apart(house: House) -> None:
    scores = house.lake.scan("template/template_scores")
    labels = house.lake.scan("template/template_labels")
    rows = scores.join(labels, on=["event_date", "event_id"]).collect()
    means = dict(rows.group_by("outcome").agg(pl.col("score").mean()).iter_rows())
    assert means[True] > means[False] + 0.1


def test_days_like_those_of_the_training_show_no_drift(house: House) -> None:
    drift = house.lake.scan("template/template_drift").collect()
    assert drift["event_date"].n_unique() == len(GATED.days.get_partition_keys())
    assert "drift" not in set(drift["verdict"])


def test_the_newest_of_two_messages_about_an_event_counts() -> None:
    columns = {"event_date": [1, 1], "event_id": [7, 7], "event_time": [1, 1], "source": ["a", "a"]}
    raw = pl.LazyFrame({**columns, "arrived_at": [2, 3], "offset": [0, 1], "value": [1.0, 2.0]})
    assert datasets.without_repeats(raw).collect()["value"].to_list() == [2.0]
