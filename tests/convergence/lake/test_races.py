from typing import Any

import pytest
from deltalake.exceptions import CommitFailedError

from convergence.errors import ConcurrentWrite
from convergence.lake import tables
from convergence.lake.tables import Lake
from tests.convergence.lake.frames import TABLE, append, day, replace, rows, values


def test_of_two_writers_of_one_day_the_second_is_refused(any_lake: Lake):
    replace(any_lake, rows(0, 1))
    base = any_lake.open(TABLE)
    replace(any_lake, rows(0, 2))

    with pytest.raises(ConcurrentWrite, match=r"2024-01-01 changed while you were writing"):
        any_lake.replace(TABLE, {day(0): rows(0, 3)}, {}, base)

    assert values(any_lake) == [2]


def test_of_two_first_writers_of_one_day_the_second_is_refused(any_lake: Lake):
    replace(any_lake, rows(0, 1))

    with pytest.raises(ConcurrentWrite, match="changed while you were writing"):
        any_lake.replace(TABLE, {day(0): rows(0, 2)}, {}, None)

    assert values(any_lake) == [1]


def test_two_writers_of_different_days_both_commit(any_lake: Lake):
    replace(any_lake, rows(0, 1))
    base = any_lake.open(TABLE)
    replace(any_lake, rows(1, 2))

    any_lake.replace(TABLE, {day(2): rows(2, 3)}, {}, base)

    assert values(any_lake) == [1, 2, 3]


def test_two_writers_of_different_days_may_bring_the_same_new_column(any_lake: Lake):
    replace(any_lake, rows(0, 1))
    base = any_lake.open(TABLE)
    replace(any_lake, rows(1, 2, channel="web"))

    any_lake.replace(TABLE, {day(2): rows(2, 3, channel="shop")}, {}, base)

    assert any_lake.scan(TABLE).sort("value").collect()["channel"].to_list() == [None, "web", "shop"]


def test_rows_appended_since_the_work_began_are_not_replaced_unseen(any_lake: Lake):
    append(any_lake, rows(0, 1), offset=1)
    base = any_lake.open(TABLE)
    append(any_lake, rows(0, 2), offset=2)

    with pytest.raises(ConcurrentWrite, match=r"2024-01-01.* changed while you were writing"):
        any_lake.replace(TABLE, {day(0): rows(0, 9)}, {}, base)

    assert values(any_lake) == [1, 2]


def test_an_append_from_a_source_that_moved_meanwhile_is_refused(any_lake: Lake):
    append(any_lake, rows(0, 1), offset=1)
    base = any_lake.open(TABLE)
    append(any_lake, rows(0, 2), offset=2)

    with pytest.raises(ConcurrentWrite, match="source changed while you were writing"):
        any_lake.append(TABLE, rows(0, 2), {}, {"source": 2}, base, dated=True)

    assert values(any_lake) == [1, 2]


def test_appends_from_different_sources_both_commit(any_lake: Lake):
    append(any_lake, rows(0, 1), source="one", offset=1)
    base = any_lake.open(TABLE)
    append(any_lake, rows(0, 2), source="two", offset=1)

    any_lake.append(TABLE, rows(0, 3), {}, {"one": 2}, base, dated=True)

    handle = any_lake.open(TABLE)
    assert handle
    assert values(any_lake) == [1, 2, 3]
    assert (handle.transaction_version("one"), handle.transaction_version("two")) == (2, 1)


def test_a_writer_that_always_loses_gives_up_in_words(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    replace(lake, rows(0, 1))

    class Losing:
        def __init__(self, handle: Any):
            self.handle = handle

        def __getattr__(self, name: str) -> Any:
            return getattr(self.handle, name)

        def create_write_transaction(self, *_: Any, **__: Any) -> None:
            raise CommitFailedError("lost")

    monkeypatch.setattr(tables.time, "sleep", lambda _: None)
    with pytest.raises(ConcurrentWrite, match="commits in a row lost"):
        lake.replace(TABLE, {day(1): rows(1, 2)}, {}, Losing(lake.open(TABLE)))  # pyright: ignore[reportArgumentType]

    assert values(lake) == [1]
