"""Every format gives the same messages, and what is broken costs only itself."""

import gzip
import json
import math
import os
from collections.abc import Callable, Sequence
from datetime import time
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals.codecs import Messages
from convergence.arrivals.csv_files import QUOTATION
from convergence.arrivals.files import decode

Row = dict[str, Any]

WANTED = {"id": pl.Int64(), "at": pl.Datetime("us"), "amount": pl.Float64(), "flag": pl.Boolean(), "note": pl.String()}

ROWS: list[Row] = [
    {"id": 1, "at": "2024-01-01T10:00:00", "amount": 3.5, "flag": True, "note": 'a "quoted", text'},
    {"id": 2, "at": "2024-01-01T10:00:01", "amount": 0.25, "flag": False, "note": "two\nlines"},
    {"id": 3, "at": "2024-01-01T10:00:02", "amount": None, "flag": True, "note": None},
]


def as_parquet(path: Path, rows: Sequence[Row]) -> Path:
    pl.DataFrame(list(rows)).write_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_csv(path: Path, rows: Sequence[Row]) -> Path:
    pl.DataFrame(list(rows)).write_csv(path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def as_jsonl(path: Path, rows: Sequence[Row]) -> Path:
    return write(path.parent, "rows.jsonl", "\n".join(json.dumps(row) for row in rows))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def parquet(**columns: list[Any]) -> bytes:
    written = BytesIO()
    pl.DataFrame(columns).write_parquet(written)
    return written.getvalue()


UNKNOWN = (
    "none of its columns is a field of this topic (amount, at, flag, id, note, number): name them in its first line"
)
CUT = "the compressed content ends too early: the file was cut, send it whole"


def decoded(path: Path) -> Messages:
    return decode(path, WANTED)


def as_text(messages: Messages) -> list[Row]:
    return [
        {k: None if v is None else str(v).lower() if k == "flag" else str(v) for k, v in row.items()}
        for row in messages.rows.iter_rows(named=True)
    ]


@pytest.mark.parametrize("written", [as_parquet, as_csv, as_jsonl])
def test_every_format_gives_the_same_messages(tmp_path: Path, written: Callable[[Path, Sequence[Row]], Path]) -> None:
    messages = decoded(written(tmp_path / "rows", ROWS))
    expected = [{k: None if v is None else str(v) for k, v in row.items()} for row in ROWS]
    assert as_text(messages) == [
        row | {"flag": row["flag"].lower(), "offset": str(offset)} for offset, row in enumerate(expected)
    ]
    assert messages.broken.is_empty()


def test_a_compressed_csv_gives_the_same_messages_as_the_plain_one(tmp_path: Path) -> None:
    plain = decoded(as_csv(tmp_path / "rows", ROWS))
    zipped = decoded(write(tmp_path, "zipped.csv.gz", gzip.compress((tmp_path / "rows.csv").read_bytes())))
    assert zipped.rows.equals(plain.rows)


def test_a_broken_json_line_costs_that_line_and_keeps_its_offset(tmp_path: Path) -> None:
    lines = ['{"id": 1}', "{not json", "[1, 2]", '{"id": 4}', '"text"', "null", '{"id": 7}']
    messages = decoded(write(tmp_path, "rows.jsonl", "\n".join(lines)))
    assert messages.rows.select("id", "offset").rows() == [(1, 0), (4, 3), (7, 6)]
    assert messages.broken.rows() == [(n, f"line {n + 1}: not a JSON object", lines[n]) for n in (1, 2, 4, 5)]


def test_blank_json_lines_are_no_messages(tmp_path: Path) -> None:
    assert decoded(write(tmp_path, "rows.jsonl", '\n{"id": 1}\n\n  \r\n{"id": 2}\n')).rows["offset"].to_list() == [0, 1]


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"id": ' + b"9" * 5000 + b"}",
        b'{"id": "\xff"}',
        b'{"id": 1\x00}',
        b"\x00\x00\x00",
    ],
    ids=["nested without end", "endless number", "not UTF-8", "NUL outside text", "NULs"],
)
def test_a_hostile_json_line_costs_that_line(tmp_path: Path, line: bytes) -> None:
    messages = decoded(write(tmp_path, "rows.jsonl", b'{"id": 1}\n' + line + b'\n{"id": 3}\n'))
    assert messages.rows["offset"].to_list() == [0, 2]
    assert messages.broken["offset"].to_list() == [1]
    kept = line.decode() if b"\xff" not in line else f"no UTF-8, in hex: {line.hex()}"
    assert messages.broken["row"].to_list() == [kept]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_field(tmp_path: Path, name: str) -> None:
    text = {"rows.jsonl": '{"id": 1}\n{"id": 2}', "rows.csv": "id\n1\n2\n"}[name]
    messages = decoded(write(tmp_path, name, b"\xef\xbb\xbf" + text.encode()))
    assert messages.rows["id"].cast(pl.Int64).to_list() == [1, 2]


_UTF_16_GZ = gzip.compress("id,note\n1,x\n".encode("utf-16-be"), mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b"", "an empty file"),
        ("a.csv", b"", "an empty file"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "an empty file"),
        ("a.jsonl", b"\n \r\n\n", "no row in it"),
        ("a.csv", b"\n\r\n  \n", "nothing but blank lines"),
        ("a.csv", b"id,at\n", "no row in it"),
        ("a.csv", b"name,street\nx,y\n", UNKNOWN),
        ("a.csv", b"id;at;note\n1;2;3\n", "its columns are separated by semicolons: write commas"),
        ("a.csv", b'"id"\t"note"\n1\t3\n', "its columns are separated by tabs: write commas"),
        ("a.csv", "id,note\n1,x\n".encode("utf-16"), "written in UTF-16: save it as UTF-8"),
        ("a.csv", "id,note\n1,x\n".encode("utf-16-le"), "written in UTF-16: save it as UTF-8"),
        (
            "a.csv.gz",
            gzip.compress("id,note\n1,x\n".encode("utf-16-be"), mtime=0),
            "written in UTF-16: save it as UTF-8",
        ),
        ("a.jsonl", '{"id": 1}\n'.encode("utf-16"), "written in UTF-16: save it as UTF-8"),
        ("a.csv", gzip.compress(b"id\n1\n", mtime=0), "compressed with gzip: a CSV like this is called .csv.gz"),
        ("a.csv", b"PK\x03\x04 and the rest", "a workbook or zip archive: save its table as CSV in UTF-8"),
        ("a.csv", b"id,note,id\n1,2,3\n", "two columns are the field id: leave one of them"),
        ("a.csv", b"id,number\n1,2\n", "two columns are the field id: leave one of them"),
        ("a.csv", b'\n"id","no"te"\n1,2\n', f"its first line has {QUOTATION}"),
        ("a.parquet", parquet(name=["x"]), UNKNOWN),
        ("a.parquet", parquet(id=[1], number=[1]), "two columns are the field id: leave one of them"),
        ("a.parquet", parquet(id=[]), "no row in it"),
        ("a.parquet", b"PAR1 and then nothing", "no Parquet, or damaged: write it again"),
        ("a.parquet", b"", "no Parquet, or damaged: write it again"),
        ("a.parquet", parquet(id=[1])[:-20] + b"PAR1", "no Parquet, or damaged: write it again"),
        ("a.csv.gz", gzip.compress(b"id\n1\n" * 1000, mtime=0)[:-20], CUT),
        ("a.csv.gz", b"id\n1\n", "no gzip, or damaged: send it again"),
        ("a.csv.gz", gzip.compress(b"id\n1\n", mtime=0) + b"more", "no gzip, or damaged: send it again"),
        ("a.xlsx", b"PK", "unknown file type: expected .parquet, .csv, .csv.gz, .jsonl"),
        ("no-ending", b"id\n1", "unknown file type: expected .parquet, .csv, .csv.gz, .jsonl"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_one_broken_message_that_says_why(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    messages = decode(write(tmp_path, name, content), WANTED, {"id": "number"})
    assert messages.rows.is_empty()
    assert messages.broken.rows() == [(0, reason, name)]


def test_a_header_may_have_the_names_that_fields_are_renamed_to(tmp_path: Path) -> None:
    messages = decode(write(tmp_path, "a.csv", "number\n1\n"), WANTED, {"id": "number"})
    assert messages.rows.rows() == [("1", 0)]


def test_columns_that_are_no_fields_may_have_one_name(tmp_path: Path) -> None:
    messages = decoded(write(tmp_path, "a.csv", "x,id,x,,\n1,2,3,4,5\n"))
    assert messages.rows.rows(named=True) == [{"x": "1", "id": "2", "x_1": "3", "": "4", "_1": "5", "offset": 0}]


def test_columns_of_one_name_take_none_from_a_field(tmp_path: Path) -> None:
    messages = decode(write(tmp_path, "a.csv", "x,x,x_1\n1,2,3\n"), {"x_1": pl.Int64()})
    assert messages.rows["x_1"].to_list() == ["3"]


@pytest.mark.parametrize(
    "line",
    ['{"id": 1, "id": 2}', '{"id": 1, "\\u0069d": 2}', '{"id" : 1, "note": "x", "id":null}', '{"id": null, "id": 2}'],
)
def test_a_json_object_with_a_key_twice_costs_that_line(tmp_path: Path, line: str) -> None:
    others = (
        '{"id": 1, "note": "\\"id\\": \\u00fc"}\n',
        '{"id": 2, "x": {"id": "id"}}\n{"at": null, "x": 1, "x": 2}\n',
    )
    messages = decoded(write(tmp_path, "a.jsonl", f"\n{others[0]}{line}\n{others[1]}"))
    assert messages.rows["offset"].to_list() == [0, 2, 3]
    assert messages.broken.rows() == [(1, "line 3: the key id stands in it twice", line)]


def test_a_broken_csv_line_costs_that_line_and_keeps_its_offset(tmp_path: Path) -> None:
    content = b'id,note\n1,"a\nb"\n2,x,too,many\n3,\xff\n4\n5,y\n'
    messages = decoded(write(tmp_path, "rows.csv", content))
    assert messages.rows.rows() == [("1", "a\nb", 0), ("4", None, 3), ("5", "y", 4)]
    assert messages.broken.rows() == [
        (1, "line 4: more fields than the 2 of the header", "2,x,too,many"),
        (2, "line 5: not written in UTF-8", "no UTF-8, in hex: 332cff"),
    ]


def test_broken_lines_of_a_compressed_csv_cost_those_lines(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfid\n1\n2,3\n4\n"
    members = gzip.compress(content[:9], mtime=0) + gzip.compress(content[9:]) + bytes(512)
    messages = decoded(write(tmp_path, "rows.csv.gz", members))
    assert messages.rows.rows() == [("1", 0), ("4", 2)]
    assert messages.broken["offset"].to_list() == [1]


def test_a_nul_byte_in_a_csv_stays_in_its_own_field(tmp_path: Path) -> None:
    messages = decoded(write(tmp_path, "rows.csv", b"id,note\n1,a\x00b\n2,c\n"))
    assert messages.rows["note"].to_list() == ["a\x00b", "c"]


def test_a_field_named_offset_does_not_move_a_message(tmp_path: Path) -> None:
    for path in (
        write(tmp_path, "a.jsonl", '{"offset": "x", "id": 1}\n{"offset": 7, "id": 2}'),
        write(tmp_path, "a.csv", "offset,id\nx,1\n7,2\n"),
        as_parquet(tmp_path / "a", [{"offset": "x", "id": 1}, {"offset": "7", "id": 2}]),
    ):
        assert decoded(path).rows["offset"].to_list() == [0, 1]


def test_parquet_columns_of_unusual_types_are_handed_to_judging_as_they_are(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": [math.nan, math.inf],
            "binary": [b"\xff", None],
            "list": [[1, 2], None],
            "struct": [{"a": b"\xff"}, None],
            "time": [time(1, 2), None],
            "category": pl.Series(["x", None], dtype=pl.Categorical),
            "day": pl.Series([2**31 - 1, None], dtype=pl.Int32).cast(pl.Date),
            "at": pl.Series([2**62, None], dtype=pl.Int64).cast(pl.Datetime("us")),
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    rows = decoded(tmp_path / "a.parquet").rows
    assert rows.drop("offset").equals(frame)
    assert rows.drop("offset").schema == frame.schema


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


VALID = {
    "a.jsonl": b'{"id": 1, "note": "x"}\n{"id": 2}\n',
    "a.csv": b'id,note\n1,"x, y"\n2,z\n',
    "a.csv.gz": gzip.compress(b"id,note\n1,x\n2,y\n", mtime=0),
}


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(VALID)),
    damage=st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=3)), max_size=3),
)
def test_no_damage_to_a_file_raises_and_offsets_stay_apart(
    folder: Path, name: str, damage: list[tuple[int, bytes]]
) -> None:
    content = VALID[name]
    for at, piece in damage:
        content = content[:at] + piece + content[at + 1 :]
    messages = decoded(write(folder, name, content))
    offsets = [*messages.rows["offset"], *messages.broken["offset"]]
    assert len(set(offsets)) == len(offsets)
    assert None not in offsets


def test_a_file_whose_name_is_not_utf8_is_read_or_rejected_and_stops_nothing(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.csv")
    (tmp_path / name).write_bytes(b"id\n1\n")
    messages = decoded(tmp_path / name)
    assert messages.rows.height + messages.broken.height == 1
    assert messages.broken.write_json() is not None
