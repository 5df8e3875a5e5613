"""The release log says what serves, whatever Redis says; Redis says when to look."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from redis import Redis

from convergence.errors import LakeError
from convergence.features.online_store import OnlineStore
from convergence.lake.tables import Lake
from convergence.models.releasable import Span
from convergence.models.release_log import newest, promote
from convergence.models.releases import Release, current, publish
from convergence.serving import releases
from convergence.serving.releases import LOG_ALONE_EVERY, LOG_EVERY, ReleaseSource
from convergence.versions.audit import AuditLog
from convergence_assets.fraud.requests import FEATURES
from convergence_assets.fraud.use_case import SERVED
from tests.convergence.redis_servers import redis_server
from tests.convergence.serving.service import decided, model
from tests.convergence.serving.trials import NAME, candidate
from tests.convergence_assets.fraud.streams import CUT


@dataclass
class House:
    """A lake, its Redis, and a server's source of releases, whose clock and looks into the log can be seen."""

    lake: Lake
    redis: Redis
    now: float = 0.0
    looks: int = 0
    broken: Exception | None = None
    source: ReleaseSource = field(init=False)

    def __post_init__(self) -> None:
        self.source = ReleaseSource(SERVED.model, self.lake, self.store(self.redis), clock=lambda: self.now)

    @staticmethod
    def store(redis: Redis) -> OnlineStore:
        return OnlineStore(redis, FEATURES.online.layout)

    def look(self, log: AuditLog, name: str) -> Release | None:
        self.looks += 1
        if self.broken:
            raise self.broken
        return newest(log, name)

    def promotes(self, version: str) -> Release:
        log, span = AuditLog(self.lake.store), Span(CUT.date(), CUT.date())
        return promote(log, NAME, candidate(version, model()), span, actor="anna", reason="first")

    def tells(self, version: str) -> Release:
        release = self.promotes(version)
        publish(self.redis, release)
        return release

    @property
    def serving(self) -> str | None:
        found = self.source.released()
        return found and found.model_version


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with redis_server() as url:
        yield Redis.from_url(url)


@pytest.fixture
def house(tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> House:
    redis.flushall()
    made = House(Lake(str(tmp_path / "lake")), redis)
    monkeypatch.setattr(releases, "newest", made.look)
    return made


def test_what_redis_tells_is_followed_at_once_and_the_log_is_not_read_at_every_look(house: House) -> None:
    house.tells("v1")
    assert [house.serving for _ in range(40)] == ["v1"] * 40
    assert house.looks == 1
    house.tells("v2")
    assert [house.serving for _ in range(40)] == ["v2"] * 40
    assert house.looks == 2


LOST: dict[str, Callable[[Redis, Release], object]] = {
    "flushed": lambda redis, _: redis.flushall(),
    "an older one restored": lambda redis, old: redis.set(f"release/{NAME}", old.to_json()),
    "rubbish": lambda redis, _: redis.set(f"release/{NAME}", "rubbish"),
}


@pytest.mark.parametrize("begun", [False, True], ids=["a server that starts", "a server that runs"])
@pytest.mark.parametrize("lost", LOST)
def test_a_redis_that_lost_a_rollback_does_not_bring_the_model_back_and_is_told(
    house: House, lost: str, begun: bool
) -> None:
    old, newer = house.tells("v1"), house.tells("v2")
    assert not begun or house.serving == "v2"
    LOST[lost](house.redis, old)
    assert [house.serving for _ in range(3)] == ["v2"] * 3
    assert current(house.redis, NAME) == newer


def test_a_release_that_redis_was_not_told_is_found_in_the_log_and_told(house: House) -> None:
    house.tells("v1")
    assert house.serving == "v1"
    untold = house.promotes("v2")
    house.now = LOG_EVERY - 0.1
    assert house.serving == "v1"
    house.now = LOG_EVERY
    assert house.serving == "v2"
    assert current(house.redis, NAME) == untold


@pytest.mark.parametrize("number", [1, 7], ids=["the same number", "a higher number"])
def test_a_release_of_another_lake_is_not_served(house: House, number: int, caplog: pytest.LogCaptureFixture) -> None:
    mine = house.promotes("v1")
    publish(house.redis, replace(mine, number=number, model_version="foreign"))
    assert [house.serving for _ in range(3)] == ["v1"] * 3
    house.now = LOG_EVERY
    assert house.serving == "v1"
    said = [r for r in caplog.records if "release publish" in r.message]
    assert len(said) == (number > 1)  # once; one with the same number is overwritten
    assert house.looks == 2


def test_without_redis_the_log_is_read_once_a_second(house: House) -> None:
    house.source.store = house.store(Redis(unix_socket_path="/nowhere/redis.sock"))
    house.promotes("v1")
    assert house.serving == "v1"
    house.promotes("v2")
    assert [house.serving for _ in range(3)] == ["v1"] * 3
    house.now = LOG_ALONE_EVERY
    assert house.serving == "v2"
    assert house.looks == 2


def test_before_the_first_promotion_the_gates_choice_is_remembered_and_left_as_soon_as_there_is_one(
    house: House,
) -> None:
    decided(house.lake, model(), "gate")
    assert [house.serving for _ in range(40)] == ["gate"] * 40
    assert house.looks == 1
    assert current(house.redis, NAME) is None
    house.tells("v1")
    assert house.serving == "v1"


def test_while_the_log_cannot_be_read_what_is_known_serves_and_then_what_redis_says(house: House) -> None:
    house.tells("v1")
    house.broken = LakeError("the bucket does not answer")
    assert [house.serving for _ in range(40)] == ["v1"] * 40
    assert house.looks == 1
    house.redis.flushall()
    with pytest.raises(LakeError, match="bucket"):
        house.source.released()
    house.broken = None
    house.now = LOG_EVERY
    assert house.serving == "v1"
    house.broken = OSError("disk")
    house.now *= 2
    assert house.serving == "v1"
    house.tells("v2")
    with pytest.raises(OSError, match="disk"):  # nobody can say whether v2 is of this lake
        house.source.released()
    house.broken = None
    house.now += LOG_ALONE_EVERY
    assert house.serving == "v2"
