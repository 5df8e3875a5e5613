"""The release record, and Redis as its mirror."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from convergence.errors import ModelError
from convergence.models.releases import Release, current, publish
from convergence.services.redis import connect, stop_embedded

CANARY = {"model_version": "v2", "sha256": "cd", "share": 0.05}


def release(number: int = 1, canary: dict[str, object] | None = None) -> Release:
    return Release("fraud_model", number, f"v{number}", "ab", "features", "f1", "features/f1", canary)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    client = connect(None, tmp_path)
    yield client
    client.close()  # the server stops when nobody is connected
    stop_embedded(tmp_path)


@pytest.mark.parametrize("canary", [None, CANARY], ids=["alone", "with-canary"])
def test_a_record_survives_its_text(canary: dict[str, object] | None) -> None:
    assert Release.from_json(release(canary=canary).to_json()) == release(canary=canary)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"name": "x", "more": 1}'])
def test_another_text_is_refused_with_the_next_step(text: str) -> None:
    with pytest.raises(ModelError, match=r"not a release record .*`convergence release publish`"):
        Release.from_json(text)


def test_servers_read_the_newest_release(redis: Redis) -> None:
    assert current(redis, "fraud_model") is None
    for number in (1, 2):
        assert publish(redis, release(number, CANARY))
        assert current(redis, "fraud_model") == release(number, CANARY)
    assert current(redis, "another") is None


def test_an_older_release_never_replaces_a_newer_one(redis: Redis) -> None:
    publish(redis, release(5))
    assert not publish(redis, release(4))
    assert current(redis, "fraud_model") == release(5)
    assert publish(redis, release(5))  # to tell it again does no harm


def test_a_record_that_cannot_be_read_is_replaced(redis: Redis) -> None:
    redis.set("release/fraud_model", "rubbish")
    assert publish(redis, release(1))
    assert current(redis, "fraud_model") == release(1)


def test_whoever_comes_last_the_newest_of_many_writers_stays(redis: Redis) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: publish(redis, release(n * 7 % 20)), range(20)))
    assert current(redis, "fraud_model") == release(19)


def test_a_newer_record_is_replaced_only_by_force(redis: Redis) -> None:
    publish(redis, release(5))
    assert publish(redis, release(4), force=True)
    assert current(redis, "fraud_model") == release(4)
