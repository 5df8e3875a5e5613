"""The store is down, slow, evicting or full of something else: every request is answered in time, and says so."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from convergence.features.keys import microseconds_of
from convergence.features.online_store import OnlineStore
from convergence.lake.tables import Lake
from convergence.services.redis import READ_WITHIN, connect
from convergence.serving.reading import FeatureReader
from convergence_assets.fraud.online import fill_online
from convergence_assets.fraud.requests import FEATURES
from tests.convergence.redis_servers import redis_server
from tests.convergence.serving.service import ask, service
from tests.convergence.serving.test_service import SCORE, one
from tests.convergence_assets.fraud.streams import CUT

LAYOUT = FEATURES.online.layout
CUT_US = microseconds_of(CUT)


@pytest.fixture
def url(world: tuple[Lake, Path]) -> Iterator[str]:
    with redis_server() as url:
        fill_online(world[0], OnlineStore(Redis.from_url(url), LAYOUT))
        yield url


def asked() -> dict[str, Any]:
    (row,) = one()["rows"]
    return row | {"event_time": 0, "arrived_at": 0}


def reader(url: str, timeout: float = READ_WITHIN, **more: Any) -> FeatureReader:
    store = OnlineStore(connect(url, Path("unused"), timeout=timeout), LAYOUT)
    return FeatureReader(FEATURES.online, store, **more)


def test_while_the_store_is_paused_one_request_waits_for_its_budget_and_the_others_not_at_all(url: str) -> None:
    namespace = OnlineStore(Redis.from_url(url), LAYOUT).newest()
    reading = reader(url, pause=60.0)
    asks: list[float] = []
    read = reading.store.read

    def counted(*wanted: Any) -> Any:
        asks.append(time.perf_counter())
        return read(*wanted)

    reading.store.read = counted  # pyright: ignore[reportAttributeAccessIssue]
    Redis.from_url(url).execute_command("CLIENT", "PAUSE", 10_000, "ALL")
    began = time.perf_counter()
    assert reading.vectors(namespace, [asked()]).degraded
    assert time.perf_counter() - began < 2  # the budget is a hundredth of it; the machine may be busy
    assert all(reading.vectors(namespace, [asked()]).degraded for _ in range(200))
    assert len(asks) == 1


def test_after_a_failure_the_store_is_asked_again_when_the_pause_is_over(url: str) -> None:
    now = [0.0]
    reading = reader(url, timeout=5.0, pause=10.0, clock=lambda: now[0])
    namespace = OnlineStore(Redis.from_url(url), LAYOUT).newest()
    assert reading.vectors("view/none/1", [asked()]).degraded
    assert reading.vectors(namespace, [asked()]).degraded
    now[0] = 11.0
    assert reading.vectors(namespace, []).degraded is None


def test_a_server_that_goes_down_and_never_comes_back_does_not_stop_the_scores(world: tuple[Lake, Path]) -> None:
    with redis_server() as url:
        fill_online(world[0], OnlineStore(Redis.from_url(url), LAYOUT))
        running = service(*world, url)
        port = running.__enter__()
        assert not ask(port, "POST", SCORE, one())[1]["degraded"]
    try:
        for _ in range(20):
            status, answer, _ = ask(port, "POST", SCORE, one())
            assert (status, answer["degraded"], answer["model_version"]) == (200, True, "2018-05-06-test")
        status, health, _ = ask(port, "GET", "/health")
        assert (status, health["usable"]) == (503, False)
        text = ask(port, "GET", "/metrics")[1]
        assert 'convergence_rows_total{degraded="true"} 20.0' in text
    finally:
        running.__exit__(None, None, None)


def test_a_server_that_begins_without_a_store_answers_on_defaults(world: tuple[Lake, Path]) -> None:
    with service(*world, "unix:///nowhere/redis.sock") as port:
        status, answer, _ = ask(port, "POST", SCORE, one())
        assert (status, answer["degraded"]) == (200, True)


def test_a_server_without_a_model_says_so(tmp_path: Path, url: str) -> None:
    with service(Lake(str(tmp_path / "lake")), tmp_path, url) as port:
        status, answer, _ = ask(port, "POST", SCORE, one())
        assert (status, answer["error"]["code"]) == (503, "no_model")
        assert ask(port, "GET", "/health")[0] == 503


def test_an_entity_that_was_evicted_is_not_taken_for_a_new_one(world: tuple[Lake, Path]) -> None:
    with redis_server("--maxmemory-policy", "allkeys-random") as url:
        redis = Redis.from_url(url)
        store = OnlineStore(redis, LAYOUT)
        fill_online(world[0], store)
        namespace = store.newest() or ""
        new = store.read(namespace, [(("customer_id",), (10**6,))])
        assert (new.states, new.lost) == ({}, False)
        rows = [asked() | {"customer_id": n, "event_time": CUT_US, "arrived_at": CUT_US} for n in range(40)]
        reading = FeatureReader(FEATURES.online, store)
        assert reading.vectors(namespace, rows).degraded is None
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] - 200_000)
        redis.set("other", b"x" * 100)
        redis.config_set("maxmemory", 0)
        assert redis.info("stats")["evicted_keys"] > 0
        found = reading.vectors(namespace, rows)
        assert not all(found.hits)
        assert "evicted" in str(found.degraded)


def test_bytes_of_something_else_are_not_taken_for_a_state(url: str) -> None:
    redis = Redis.from_url(url)
    store = OnlineStore(redis, LAYOUT)
    namespace = store.newest() or ""
    redis.set(f"{namespace}/customer_id:1", b"something else")
    found = FeatureReader(FEATURES.online, store).vectors(namespace, [asked()])
    assert "materialize the online state anew" in str(found.degraded)


def test_where_the_store_is_goes_to_the_log_once_and_to_no_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    socket = tmp_path / "redis.sock"
    reading = reader(f"unix://{socket}", pause=0.0)
    told = [str(reading.vectors("x", [asked()]).degraded) for _ in range(3)]
    assert set(told) == {told[0]}
    assert "does not answer (ConnectionError" in told[0]
    assert str(tmp_path) not in told[0]
    assert [str(socket) in record.getMessage() for record in caplog.records] == [True]
