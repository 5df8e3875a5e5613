"""History played into the drop folder: the same bytes every time, at the pace that was asked for."""

from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from convergence.arrivals.replay import replay
from convergence.arrivals.topics import Topic
from convergence.errors import ArrivalError
from convergence.lake.manifests import manifest
from convergence.lake.tables import Lake
from tests.convergence.arrivals.landing import FIRST, LAST, TABLE, landed, rows, topic_with

SECOND = FIRST + timedelta(days=1)


def history(data: Path | None) -> tuple[pl.LazyFrame, str]:
    """Three messages on each of the first four days, out of order, none on the fifth."""
    times = [datetime(2024, 1, day, hour) for hour in (20, 4, 12) for day in (3, 1, 4, 2)]
    messages = {"ID": range(len(times)), "event_time": times, "amount": 1.5, "refunded": False, "note": "n"}
    return pl.LazyFrame(messages), f"published: {data.name}" if data else "SIMULATED HERE"


TOPIC: Topic = topic_with(history=history)


def digests(inbox: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted((inbox / TOPIC.name).iterdir())}


def test_each_day_is_one_file_of_its_messages_in_order_of_time(tmp_path: Path) -> None:
    assert list(replay(TOPIC, None, tmp_path, FIRST, date(2024, 1, 5))) == [
        (date(2024, 1, day), 0 if day == 5 else 3, "SIMULATED HERE") for day in range(1, 6)
    ]
    for day in range(1, 5):
        times = pl.read_parquet(tmp_path / TOPIC.name / f"2024-01-0{day}.parquet")["event_time"].to_list()
        assert times == [datetime(2024, 1, day, hour) for hour in (4, 12, 20)]


def test_the_same_days_are_the_same_bytes_whatever_is_played_with_them(tmp_path: Path) -> None:
    list(replay(TOPIC, None, tmp_path / "a", FIRST, LAST))
    list(replay(TOPIC, None, tmp_path / "b", SECOND, SECOND))
    assert digests(tmp_path / "b").items() <= digests(tmp_path / "a").items()


def test_no_unfinished_file_is_left(tmp_path: Path) -> None:
    list(replay(TOPIC, None, tmp_path, FIRST, LAST))
    assert sorted(digests(tmp_path)) == [f"2024-01-{day:02}.parquet" for day in range(1, 5)]


def test_a_day_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    list(replay(TOPIC, None, tmp_path, FIRST, FIRST))
    there = tmp_path / TOPIC.name / f"{FIRST}.parquet"
    there.write_bytes(b"mine")
    assert [number for _, number, _ in replay(TOPIC, None, tmp_path, FIRST, SECOND)] == [3, 3]
    assert there.read_bytes() == b"mine"


def test_what_an_interrupted_replay_left_is_completed(tmp_path: Path) -> None:
    playing = replay(TOPIC, None, tmp_path / "a", FIRST, LAST)
    next(playing)
    playing.close()
    (tmp_path / "a" / TOPIC.name / f".{SECOND}.parquet").write_bytes(b"half")
    list(replay(TOPIC, None, tmp_path / "a", FIRST, LAST))
    list(replay(TOPIC, None, tmp_path / "b", FIRST, LAST))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize(
    ("first", "last"),
    [(date(2023, 12, 31), SECOND), (FIRST, LAST + timedelta(days=1)), (SECOND, FIRST)],
    ids=["before the history", "after the history", "backwards"],
)
def test_days_outside_the_history_are_refused_with_its_limits(tmp_path: Path, first: date, last: date) -> None:
    with pytest.raises(ArrivalError, match=f"history from 2024-01-01 to 2024-01-10; asked for {first} to {last}"):
        list(replay(TOPIC, None, tmp_path, first, last))
    assert not (tmp_path / TOPIC.name).exists()


def test_the_data_set_is_played_where_it_is_and_the_simulator_where_it_is_not(tmp_path: Path) -> None:
    origins = [next(replay(TOPIC, data, tmp_path / "inbox", FIRST, FIRST))[2] for data in (tmp_path, None)]
    assert origins == [f"published: {tmp_path.name}", "SIMULATED HERE"]


@pytest.mark.parametrize(("speed", "a_day"), [(86_400, 1.0), (43_200, 2.0), (864_000, 0.1)])
def test_speed_makes_each_day_take_its_share_of_the_event_time(tmp_path: Path, speed: float, a_day: float) -> None:
    waits: list[float] = []
    list(replay(TOPIC, None, tmp_path, FIRST, date(2024, 1, 3), speed, waits.append))
    # The recorder does not really wait, so every wait counts from the beginning.
    assert waits == pytest.approx([a_day, 2 * a_day, 3 * a_day], abs=0.09)


def test_a_days_file_appears_only_when_its_last_event_has_happened(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    folder = tmp_path / TOPIC.name
    list(replay(TOPIC, None, tmp_path, FIRST, SECOND, 1.0, lambda _: seen.append([p.name for p in folder.iterdir()])))
    assert seen == [[], [f"{FIRST}.parquet"]]


def test_without_a_speed_nobody_waits(tmp_path: Path) -> None:
    def never(_: float) -> None:
        raise AssertionError("waited")

    assert len(list(replay(TOPIC, None, tmp_path, FIRST, LAST, None, never))) == 10


def test_the_origin_travels_with_the_file_into_the_manifest(lake: Lake, tmp_path: Path) -> None:
    list(replay(TOPIC, None, tmp_path, FIRST, FIRST))
    landed(lake, tmp_path)
    assert manifest(lake, TABLE, str(FIRST))["origins"] == ["SIMULATED HERE"]


def test_a_replayed_history_lands_whole(lake: Lake, tmp_path: Path) -> None:
    list(replay(TOPIC, None, tmp_path, FIRST, LAST))
    landed(lake, tmp_path)
    assert sorted(rows(lake, TABLE)["payment_id"]) == list(range(12))
