from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.errors import InvalidName, LakeError, SchemaConflict
from convergence.lake import tables
from convergence.lake.tables import DAY, Lake
from tests.convergence.lake.frames import FIRST, TABLE, contents, day, replace, rows, values, write

HOSTILE = [
    "../../x",
    "/etc/x",
    "a\0b",
    "%2e%2e",
    "a" * 300,
    "🙂",
    "CON",
    "a\nb",
    "x'; DROP TABLE y; --",
    "a/../b",
    "a//b",
    ".",
]


@pytest.mark.parametrize("name", [*HOSTILE, "", "a/", "/", "a/_delta_log", "_delta_log", "s3://other/x", "a b"])
def test_a_table_name_that_could_leave_its_place_is_refused(tmp_path: Path, name: str):
    lake = Lake(str(tmp_path / "inside" / "lake"))
    tries = [
        lambda: lake.open(name),
        lambda: lake.scan(name),
        lambda: lake.replace(name, {day(0): rows(0, 1)}, {}, None),
        lambda: lake.append(name, rows(0, 1), {}, {"s": 1}, None, dated=True),
        lambda: list(lake.commits(name)),
    ]

    for attempt in tries:
        with pytest.raises(InvalidName, match="expected lower-case words"):
            attempt()

    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    "key",
    [*HOSTILE, "2024-1-1", "20240101", "2024-W01-1", "2024-02-30", "2024-01-01 ", "２024-01-01"],
)
def test_a_partition_key_that_is_no_date_is_refused(tmp_path: Path, key: str):
    lake = Lake(str(tmp_path / "inside" / "lake"))
    write(lake, rows(0, 1))
    before = contents(tmp_path)

    with pytest.raises(InvalidName, match="is not a date like 2018-08-01"):
        lake.replace(TABLE, {key: rows(0, 1)}, {}, lake.open(TABLE))

    assert contents(tmp_path) == before


ODD_NAMES = [
    "a b",
    "a'b",
    'a"b',
    "a;b",
    "a=b",
    "{x}",
    "a\nb",
    "../x",
    "/abs",
    "`b`",
    "; DROP TABLE t",
    "a.b",
    "%2e",
    "🙂",
    "",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_hostile_column_name_is_only_a_name(lake: Lake, name: str):
    frame = rows(0, 1, 2).rename({"value": name})

    replace(lake, frame)

    assert_frame_equal(lake.scan(TABLE).filter(pl.col(name) == 2).collect(), frame[1:])


def test_a_column_name_with_a_nul_is_refused(lake: Lake):
    with pytest.raises(SchemaConflict, match="holds a NUL character"):
        replace(lake, rows(0, 1).rename({"value": "a\0b"}))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text() | st.sampled_from(HOSTILE + ODD_NAMES), min_size=1, max_size=5))
def test_hostile_values_are_only_values(tmp_path_factory: pytest.TempPathFactory, texts: list[str]):
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    frame = pl.DataFrame({DAY: [FIRST] * len(texts), "text": texts})

    replace(lake, frame)

    assert_frame_equal(lake.scan(TABLE).collect(), frame)
    assert lake.scan(TABLE).filter(pl.col("text") == texts[0]).collect().height == texts.count(texts[0])


def test_a_folder_with_spaces_and_accents_is_a_lake(tmp_path: Path):
    lake = Lake(str(tmp_path / "my läke's (old) #1"))

    write(lake, rows(0, 1))

    assert values(lake) == [1]
    assert [c.version for c in lake.commits(TABLE)] == [1]


def broken_entry(log: Path) -> None:
    max(log.iterdir()).write_text("{broken")


def missing_entry(log: Path) -> None:
    min(log.iterdir()).unlink()


@pytest.mark.parametrize("damage", [broken_entry, missing_entry])
def test_a_damaged_log_is_an_error_and_never_a_missing_table(lake: Lake, damage: Any):
    replace(lake, rows(0, 1))
    damage(Path(lake.uri(TABLE)) / "_delta_log")

    with pytest.raises(LakeError, match=r"cannot be opened|it cannot be read"):
        replace(lake, rows(0, 2))


def test_a_table_that_cannot_be_opened_once_keeps_every_byte(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    write(lake, rows(0, 1), rows(1, 2))
    before = contents(Path(lake.root))
    with monkeypatch.context() as patch:
        patch.setattr(tables, "LocalTable", lambda *_, **__: (_ for _ in ()).throw(OSError("connection reset")))

        with pytest.raises(LakeError, match=r"cannot be opened \(OSError\); nothing was changed"):
            replace(lake, rows(0, 9))

    assert contents(Path(lake.root)) == before
    replace(lake, rows(0, 9))
    assert values(lake) == [2, 9]
