from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from redis import Redis

from convergence.features.online_state import EntityState
from convergence.features.online_store import Meta, OnlineStore, OnlineStoreError
from convergence.features.online_updates import keep_up, update
from convergence.features.views import MICROSECOND
from convergence.lake.tables import Lake
from convergence_assets.fraud.arrivals import TOPIC
from convergence_assets.fraud.features import DAILY
from convergence_assets.fraud.online import fill_online, online_state
from convergence_assets.fraud.requests import FEATURES
from convergence_assets.fraud.use_case import SERVED
from resources.arrivals import landing_asset
from resources.lake import LakeIOManager
from resources.online import Online
from tests.convergence.redis_servers import redis_server
from tests.convergence_assets.fraud.streams import CUT, END, batch, history, landed, live

VIEW, LAYOUT = FEATURES.online.view, FEATURES.online.layout


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def store(server: str) -> OnlineStore:
    redis = Redis.from_url(server)
    redis.flushall()
    return OnlineStore(redis, LAYOUT)


@pytest.fixture
def filled(lake: Lake, tmp_path: Path, store: OnlineStore) -> OnlineStore:
    landed(lake, tmp_path / "inbox", "history", history())
    fill_online(lake, store)
    return store


def served(store: OnlineStore, rows: pl.DataFrame) -> np.ndarray:
    asked = rows.with_columns(pl.col("event_time", "arrived_at").dt.epoch("us")).to_dicts()
    reading = store.read(store.newest() or "", [key for row in asked for key in FEATURES.online.keys(row)])
    return FEATURES.online.vectors(asked, reading.states)


def expected(rows: pl.DataFrame) -> np.ndarray:
    return rows.select(pl.col(VIEW.features).cast(pl.Float64).fill_null(float("nan"))).to_numpy()


def stored(store: OnlineStore) -> dict[str, tuple[Meta, EntityState]]:
    """Every state of the namespace that counts, without what is older than any window still reaches."""
    namespace = store.newest() or ""
    meta = store.read(namespace, ()).meta
    found = {}
    for name in store.redis.scan_iter(f"{namespace}/*:*"):
        entity = (name.decode().removeprefix(f"{namespace}/").partition(":")[0],)
        state = LAYOUT.unpack(entity, store.redis.get(name))
        rows = {s: m[:, m[0] > meta.floor - LAYOUT.reach[entity, s]].tolist() for s, m in state.rows.items()}
        if any(matrix[0] for matrix in rows.values()):
            found[name.decode().rpartition("/")[2]] = rows
    return found


def test_a_filled_store_serves_what_the_batch_computes_bit_for_bit(lake: Lake, filled: OnlineStore) -> None:
    rows = batch(lake, CUT - timedelta(days=1))
    assert rows.height > 30
    np.testing.assert_array_equal(served(filled, rows), expected(rows))


def test_a_store_that_followed_late_repeated_and_corrected_messages_equals_one_that_was_filled_afterwards(
    lake: Lake, tmp_path: Path, filled: OnlineStore
) -> None:
    applied = []
    for n, part in enumerate(live()):
        landed(lake, tmp_path / "inbox", f"live-{n}", part)
        applied.append(keep_up(lake, FEATURES, filled)[1])
        rows = batch(lake, CUT)
        np.testing.assert_array_equal(served(filled, rows), expected(rows))
    assert min(applied) > 0
    followed, entities = stored(filled), filled.read(filled.newest() or "", ()).meta.entities
    fill_online(lake, filled)
    assert followed == stored(filled)
    assert entities >= filled.read(filled.newest() or "", ()).meta.entities


def test_following_again_changes_nothing(lake: Lake, tmp_path: Path, filled: OnlineStore) -> None:
    landed(lake, tmp_path / "inbox", "live", live()[0])
    namespace, applied = keep_up(lake, FEATURES, filled)
    before = {name: filled.redis.get(name) for name in filled.redis.scan_iter(f"{namespace}/*")}
    assert applied > 0
    assert keep_up(lake, FEATURES, filled) == (namespace, 0)
    assert {name: filled.redis.get(name) for name in filled.redis.scan_iter(f"{namespace}/*")} == before


def test_of_two_who_follow_at_once_one_writes(lake: Lake, tmp_path: Path, filled: OnlineStore) -> None:
    landed(lake, tmp_path / "inbox", "live", live()[0])
    namespace = filled.newest() or ""

    class Slower(OnlineStore):
        def change(self, *change: object) -> bool:
            assert update(lake, FEATURES, filled, namespace) > 0
            return super().change(*change)  # pyright: ignore[reportArgumentType]

    assert update(lake, FEATURES, Slower(filled.redis, LAYOUT), namespace) == 0
    rows = batch(lake, CUT)
    np.testing.assert_array_equal(served(filled, rows), expected(rows))


def test_a_store_that_was_flushed_is_filled_again_and_equals_before(lake: Lake, filled: OnlineStore) -> None:
    before = stored(filled)
    filled.redis.flushall()
    with pytest.raises(OnlineStoreError):
        update(lake, FEATURES, filled, f"{VIEW.name}/{LAYOUT.fingerprint}/1")
    keep_up(lake, FEATURES, filled)
    assert stored(filled) == before


def test_rewritten_history_is_filled_anew_while_the_last_good_namespace_stays(
    lake: Lake, tmp_path: Path, filled: OnlineStore
) -> None:
    before = filled.newest()
    base = lake.open(TOPIC.table)
    day = str((CUT - timedelta(days=1)).date())
    rows = lake.scan(TOPIC.table, [day]).with_columns(amount=pl.col("amount") + 1).collect()
    lake.replace(TOPIC.table, {day: rows}, {"mode": "replace", "partitions": {day: {}}, "inputs": {}}, base)
    namespace, _ = keep_up(lake, FEATURES, filled)
    assert namespace != before == filled.newest().replace("/2", "/1")  # pyright: ignore[reportOptionalMemberAccess]
    assert filled.holds(before or "")
    rows = batch(lake, CUT - timedelta(days=1))
    np.testing.assert_array_equal(served(filled, rows), expected(rows))


def test_a_new_namespace_is_pointed_to_only_when_it_is_whole(filled: OnlineStore) -> None:
    before = filled.newest()
    meta = filled.read(before or "", ()).meta

    def dying() -> Iterator:
        yield ("customer_id",), (1,), EntityState(rows={s: np.empty((5, 0), np.int64) for s in ("transactions",)})
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, KeyError)):
        filled.fill(dying(), table=meta.table, generation=1, version=1, floor=0, newest=0, filled_at="")
    assert filled.newest() == before
    assert filled.holds(before or "")


def test_the_last_two_namespaces_are_kept(lake: Lake, filled: OnlineStore) -> None:
    for _ in range(3):
        fill_online(lake, filled)
    names = {name.decode().split("/")[2] for name in filled.redis.scan_iter(f"{VIEW.name}/*/meta")}
    assert names == {"3", "4"}


def test_the_asset_fills_the_store_and_says_what_is_in_it(lake: Lake, tmp_path: Path, server: str) -> None:
    Redis.from_url(server).flushall()
    landed(lake, tmp_path / "inbox", "history", history())
    resources = {"lake": LakeIOManager(root=lake.root), "online": Online(home=str(tmp_path), url=server)}
    raw = landing_asset(TOPIC, partitions_def=DAILY)
    assert dg.materialize([online_state, raw.to_source_asset()], resources=resources).success
    (row,) = lake.scan("fraud/online_state").collect().to_dicts()
    store = OnlineStore(Redis.from_url(server), LAYOUT)
    meta = store.read(store.newest() or "", ()).meta
    assert (row["namespace"], row["entities"], row["raw_version"]) == (store.newest(), meta.entities, meta.version)
    assert row["newest_event"] - row["exact_from"] == TOPIC.late_after
    assert (row["newest_event"] - END) < timedelta(0) < MICROSECOND


def test_the_view_of_the_use_case_needs_no_data_frame_engine_for_a_request() -> None:
    assert FEATURES.online.expressions.compiled
    assert set(SERVED.row.model_fields) >= set(FEATURES.online.inputs)
