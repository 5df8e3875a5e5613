"""No file takes the lander's memory: what it would cost is told before it is read, and the files behind it land."""

import gzip
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from convergence.arrivals import bounds
from convergence.arrivals.files import decode
from convergence.arrivals.parquet_footer import cost_of
from convergence.lake.tables import Lake
from tests.convergence.arrivals.landing import REJECTED, TABLE, TOPIC, drop, landed, message, rows

WANTED = {"id": pl.String(), "note": pl.String()}
MIB = 2**20


def parquet(frame: pl.DataFrame, **how: Any) -> bytes:
    written = BytesIO()
    frame.write_parquet(written, **how)
    return written.getvalue()


def bomb(mib: int) -> bytes:
    return gzip.compress(b"id,note\n" + b"1,2\n" * (mib * MIB // 4), 9, mtime=0)


def lying(content: bytes) -> bytes:
    """A Parquet file whose first page says that it takes 128 MiB, of which its footer knows nothing."""
    assert content[4] == content[6] == 0x15  # the page's type, and its size when unpacked
    begin = end = 7
    while content[end] & 128:
        end += 1
    return content[:begin] + b"\xfe" + b"\xff" * (end - begin - 1) + b"\x7f" + content[end + 1 :]


CASES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "gzip bomb": ("a.csv.gz", lambda: bomb(70), "unpacked it is more than 200 times its"),
    "large when unpacked": ("a.csv.gz", lambda: bomb(2), "more than 1048576 bytes when unpacked"),
    "large CSV": ("a.csv", lambda: b"id\n" + b"1\n" * MIB, "at most 1048576 are read: cut it into smaller files"),
    "large JSON lines": (
        "a.jsonl",
        lambda: b'{"id": 1}\n' * MIB,
        "at most 1048576 are read: cut it into smaller files",
    ),
    "many lines": ("a.csv", lambda: b"id\n" + b"1\n" * 2000, "2001 rows, at most 1000 are read"),
    "many JSON lines": ("a.jsonl", lambda: b"{}\n" * 2000, "2000 rows, at most 1000 are read"),
    "many columns": ("a.csv", lambda: b"id," + b"x," * 200 + b"\n", "202 columns, at most 100 are read"),
    "short lines of many columns": (
        "a.csv",
        lambda: b"id" + b",x" * 90 + b"\n1" * 900,
        "its values take 1310400 bytes",
    ),
    "one value many times": (
        "a.parquet",
        lambda: parquet(pl.DataFrame({"id": pl.zeros(2000, eager=True)})),
        "2000 rows",
    ),
    "one long text many times": (
        "a.parquet",
        lambda: parquet(pl.DataFrame({"id": ["x" * 10_000] * 200})),
        "its values take",
    ),
    "a list of many": (
        "a.parquet",
        lambda: parquet(pl.DataFrame({"id": [[0] * 70_000]})),
        "its values take 1120000 bytes in memory",
    ),
    "large pages": (
        "a.parquet",
        lambda: parquet(pl.DataFrame({"id": ["x" * 2 * MIB]})),
        "more than 1048576 bytes when unpacked",
    ),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in {"MOST_BYTES": MIB, "MOST_ROWS": 1000, "MOST_COLUMNS": 100}.items():
        monkeypatch.setattr(bounds, name, most)


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"gzip bomb"}))
@pytest.mark.usefixtures("small")
def test_a_file_beyond_a_limit_is_one_broken_message(tmp_path: Path, case: str) -> None:
    name, content, reason = CASES[case]
    (tmp_path / name).write_bytes(content())
    messages = decode(tmp_path / name, WANTED)
    assert messages.rows.is_empty()
    assert messages.broken.select("offset", "row").rows() == [(0, name)]
    assert reason in messages.broken["reason"].item()


def test_a_file_behind_a_bomb_lands(lake: Lake, tmp_path: Path) -> None:
    folder = drop(tmp_path, "b.jsonl", message(1)).parent
    (folder / "a.csv.gz").write_bytes(bomb(70))
    result = landed(lake, tmp_path, TOPIC)
    assert (result.accepted, result.rejected) == (1, 1)
    assert "unpacked it is more than 200 times its" in rows(lake, REJECTED)["reason"].item()
    assert rows(lake, TABLE)["payment_id"].to_list() == [1]


def test_a_json_line_beyond_the_limit_costs_that_line(tmp_path: Path) -> None:
    long = b'{"id": 1, "x": [' + b"0," * (bounds.MOST_LINE // 2) + b"0]}"
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1}\n' + long + b'\n{"id": 2}\n')
    messages = decode(tmp_path / "a.jsonl", WANTED)
    assert messages.rows["offset"].to_list() == [0, 2]
    assert messages.broken["reason"].to_list() == [f"line 2: {len(long)} bytes, at most {bounds.MOST_LINE}"]


def test_a_footer_that_lies_of_its_pages_is_found_out() -> None:
    honest = parquet(pl.DataFrame({"id": ["x" * MIB]}), compression="zstd", statistics=False)
    assert cost_of(honest).pages >= MIB
    assert cost_of(lying(honest)).pages > 100 * MIB


def test_what_a_parquet_file_takes_is_told_from_its_footer() -> None:
    frame = pl.DataFrame({"a": [1, 2, 3], "b": [{"x": [1, 2], "y": "z"}] * 3, "c": ["u", None, "v"]})
    told = cost_of(parquet(frame, metadata={"origin": "a test"}))
    assert (told.rows, told.names, told.about["origin"]) == (3, ["a", "b", "c"], "a test")
    assert told.values == 16 * (3 + 6 + 3 + 3)
