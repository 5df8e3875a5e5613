import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from redis import Redis

from convergence.errors import ConvergenceError
from convergence.features.online import OnlineView
from convergence.features.online_store import OnlineStore
from convergence.features.online_updates import fill, keep_up
from convergence.features.views import MICROSECOND, Aggregate
from convergence.lake.maintenance import compact
from convergence.lake.tables import Lake
from convergence.serving.champion import Champion
from convergence.serving.metrics import Metrics
from convergence.serving.parity import ParityBroken, differences, served_lines
from convergence.serving.reading import FeatureReader
from convergence.serving.reasons import Reasons
from convergence.serving.scoring import Scoring
from convergence.serving.variants import Variants
from convergence_assets.fraud.online import parity
from convergence_assets.fraud.requests import FEATURES
from tests.convergence.redis_servers import redis_server
from tests.convergence_assets.fraud.streams import CUT, batch, history, landed, live

VIEW = FEATURES.online.view
DAY = timedelta(days=1)


class Collected(list):
    """A served log in memory, through JSON as on disk."""

    def add(self, lines: list[dict[str, Any]]) -> None:
        self.extend(json.loads(json.dumps(line)) for line in lines)


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with redis_server() as url:
        yield Redis.from_url(url)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Path]:
    home = tmp_path_factory.mktemp("home")
    lake = Lake(str(home / "lake"))
    landed(lake, home / "inbox", "history", history())
    return lake, home


def asked(lake: Lake) -> list[dict[str, Any]]:
    """The newest transactions, and one a day to the microsecond after another of its customer."""
    rows = batch(lake, CUT - timedelta(hours=12)).select(FEATURES.online.inputs)
    before = batch(lake, CUT - timedelta(hours=30)).row(0, named=True)
    edge = {c: before[c] for c in FEATURES.online.inputs} | {"transaction_id": 10**9}
    at = before["event_time"] + DAY
    edge |= {"event_time": at, "arrived_at": at}
    given = pl.concat([rows, pl.DataFrame([edge], rows.schema)])
    return given.with_columns(pl.col("event_time", "arrived_at").dt.epoch("us")).to_dicts()


def served(lake: Lake, redis: Redis, online: OnlineView = FEATURES.online) -> Collected:
    """What a server of `online` logs; it says that it serves the declared view."""
    redis.flushall()
    store, log = OnlineStore(redis, online.layout), Collected()
    fill(lake, replace(FEATURES, online=online), store)
    nothing: Any = lambda *_: None  # noqa: E731
    champion = Champion(nothing, nothing, store.newest, online.layout.fingerprint, nothing)
    metrics = Metrics()
    variants = Variants(Reasons(nothing, {}), metrics, None)
    scoring = Scoring("fraud", online, FeatureReader(online, store), champion, variants, metrics, log)  # pyright: ignore
    for n, row in enumerate(asked(lake)):
        scoring.features([row], [], f"request-{n}")
    return Collected(line | {"fingerprint": FEATURES.online.layout.fingerprint} for line in log)


def with_another(name: str, change: Callable[[Aggregate], Aggregate]) -> OnlineView:
    aggregates = tuple(change(a) if a.name == name else a for a in VIEW.aggregates)
    return OnlineView(replace(VIEW, aggregates=aggregates), FEATURES.online.schemas)


def test_every_served_vector_is_what_the_batch_computes(world: tuple[Lake, Path], redis: Redis) -> None:
    lines = served(world[0], redis)
    assert len(lines) > 10
    assert differences(world[0], FEATURES, lines) == []


BROKEN = {
    "unit": ("customer_mean_30d", lambda a: replace(a, resolution=1.0), {"amount_to_mean"}),
    "entity": ("customer_count_7d", lambda a: replace(a, entity=("terminal_id",)), set()),
    "window edge": ("customer_count_24h", lambda a: replace(a, window=a.window + MICROSECOND), set()),
    "delay of labels": ("terminal_fraud_rate_30d", lambda a: replace(a, window=3 * DAY), set()),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_view_that_is_served_otherwise_than_declared_is_named_by_its_feature(
    world: tuple[Lake, Path], redis: Redis, broken: str
) -> None:
    name, change, followers = BROKEN[broken]
    lines = served(world[0], redis, with_another(name, change))
    assert {found.feature for found in differences(world[0], FEATURES, lines)} == {name, *followers}


def test_one_unit_in_the_last_place_is_found(world: tuple[Lake, Path], redis: Redis) -> None:
    lines = served(world[0], redis)
    place = VIEW.features.index("customer_mean_7d")
    lines[3]["features"][place] = float(np.nextafter(lines[3]["features"][place], np.inf))
    (found,) = differences(world[0], FEATURES, lines)
    assert (found.feature, found.request_id) == ("customer_mean_7d", "request-3")
    assert found.row == lines[3]["row"]["transaction_id"]


def test_what_was_served_before_is_made_again_after_more_has_landed_and_files_were_merged(
    tmp_path: Path, lake: Lake, redis: Redis
) -> None:
    landed(lake, tmp_path / "inbox", "history", history())
    lines = served(lake, redis)
    for n, part in enumerate(live()):
        landed(lake, tmp_path / "inbox", f"live-{n}", part)
    compact(lake, FEATURES.table)
    keep_up(lake, FEATURES, OnlineStore(redis, FEATURES.online.layout))
    assert differences(lake, FEATURES, lines) == []


def test_rows_served_by_another_version_of_the_view_are_refused(world: tuple[Lake, Path], redis: Redis) -> None:
    lines = [line | {"fingerprint": "0" * 16} for line in served(world[0], redis)]
    with pytest.raises(ConvergenceError, match="with the code that served them"):
        differences(world[0], FEATURES, lines)


def test_the_report_compares_the_newest_day_and_fails_naming_the_feature(
    world: tuple[Lake, Path], redis: Redis, tmp_path: Path
) -> None:
    lines = served(world[0], redis)
    degraded = lines[0] | {"degraded": True, "meta": None}
    text = [json.dumps(line) for line in [degraded, *lines]]
    (tmp_path / "2018-05-10.jsonl").write_text("damaged\n")
    (tmp_path / "2018-05-11.jsonl").write_text("\n".join([*text, '{"cut o']))
    assert len(served_lines(tmp_path, 10_000)) == len(lines)
    assert parity(world[0], tmp_path)["differing"].sum() == 0
    lines[5]["features"][VIEW.features.index("hour")] += 1
    (tmp_path / "2018-05-12.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ParityBroken, match=r"1 of \d+ served rows differ from the batch in hour"):
        parity(world[0], tmp_path)


def test_a_log_without_a_line_to_compare_is_no_success(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ParityBroken, match="nothing was served"):
        parity(lake, tmp_path)
