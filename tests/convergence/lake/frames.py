"""Frames and manifests that several tests of the lake use."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

from convergence.lake.content_hash import content_hash
from convergence.lake.manifests import MANIFESTS, Provenance, build_manifest, record, states
from convergence.lake.tables import DAY, WHOLE, Lake, by_day

FIRST = date(2024, 1, 1)
TABLE = "fraud/transactions"
PROVENANCE = Provenance(run_id="run", code_version="1", origins=("simulated",))


def day(number: int) -> str:
    return (FIRST + timedelta(days=number)).isoformat()


def rows(number: int, *values: int, **columns: Any) -> pl.DataFrame:
    """Rows of one day with these values; further columns are the same in each."""
    frame = pl.DataFrame({"value": values}, schema={"value": pl.Int64})
    literals = [pl.lit(v).alias(k) for k, v in columns.items()]
    return frame.select(pl.lit(FIRST + timedelta(days=number)).alias(DAY), "value", *literals)


def write(lake: Lake, *frames: pl.DataFrame, table: str = TABLE, provenance: Provenance = PROVENANCE) -> None:
    """Replace the days of these frames in one commit and record it, as an asset does."""
    partitions = {key: part for frame in frames for key, part in by_day(frame).items()}
    lake.replace(table, partitions, build_manifest(partitions, "replace", provenance), lake.open(table))
    record(lake, [table])


def append(lake: Lake, frame: pl.DataFrame, *, source: str = "source", offset: int, table: str = TABLE) -> None:
    """Append rows and what they were read from, as a lander does, and leave the recording to others."""
    dated = DAY in frame.columns
    manifest = build_manifest(by_day(frame) if dated else {WHOLE: frame}, "append", PROVENANCE)
    lake.append(table, frame, manifest, {source: offset}, lake.open(table), dated=dated)


def values(lake: Lake, *days: str, table: str = TABLE) -> list[int]:
    frame = lake.scan(table, days or None).collect()
    return sorted(frame["value"])


def replace(lake: Lake, *frames: pl.DataFrame, table: str = TABLE) -> None:
    partitions = {key: part for frame in frames for key, part in by_day(frame).items()}
    lake.replace(table, partitions, {}, lake.open(table))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def held(lake: Lake, *tables: str) -> dict[str, dict[str, tuple[int, int, str]]]:
    """Version, rows and hash of every partition."""
    found = states(lake, tables or [TABLE])
    return {t: {k: (s.version, s.rows, s.content_hash) for k, s in ps.items()} for t, ps in found.items()}


def recorded(lake: Lake) -> list[tuple[Any, ...]]:
    frame = lake.scan(MANIFESTS).collect()
    return sorted(frame.select("table", "version", "partition", "mode", "rows", "content_hash", "inputs").rows())


def state(version: int, *frames: pl.DataFrame) -> tuple[int, int, str]:
    frame = pl.concat(frames)
    return version, frame.height, content_hash(frame)


def every_type() -> pl.DataFrame:
    """One column of every type that the lake stores, each with a null and its awkward values."""
    instant = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    columns = {
        "int8": pl.Series([-128, None, 127], dtype=pl.Int8),
        "int16": pl.Series([-(2**15), None, 2**15 - 1], dtype=pl.Int16),
        "int32": pl.Series([-(2**31), None, 2**31 - 1], dtype=pl.Int32),
        "int64": pl.Series([-(2**63), None, 2**63 - 1], dtype=pl.Int64),
        "float32": pl.Series([float("nan"), None, 1.5], dtype=pl.Float32),
        "float64": pl.Series([float("-inf"), None, -0.0], dtype=pl.Float64),
        "decimal": pl.Series([Decimal("-1.50"), None, Decimal("2.25")], dtype=pl.Decimal(10, 2)),
        "boolean": pl.Series([True, None, False]),
        "string": pl.Series(["", None, "naïve ' \" \n 🙂"]),
        "binary": pl.Series([b"", None, b"\x00\xff"]),
        "categorical": pl.Series(["a", None, "b"], dtype=pl.Categorical),
        "date": pl.Series([date(1, 1, 1), None, date(9999, 12, 31)]),
        "microseconds": pl.Series([instant, None, datetime(1, 1, 1, tzinfo=UTC)], dtype=pl.Datetime("us", "UTC")),
        "milliseconds": pl.Series([datetime(2024, 1, 1), None, datetime(1950, 1, 1)], dtype=pl.Datetime("ms", "UTC")),
        "list": pl.Series([[1, None], None, []], dtype=pl.List(pl.Int32)),
        "floats": pl.Series([[float("nan"), 0.5], None, [-0.0]], dtype=pl.List(pl.Float32)),
        "struct": pl.Series([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
        "structs": pl.Series([[{"a": [1]}], None, []], dtype=pl.List(pl.Struct({"a": pl.List(pl.Int64)}))),
        "bytes": pl.Series([[b"a"], None, [b"\x00", None]], dtype=pl.List(pl.Binary)),
    }
    return pl.DataFrame({DAY: [FIRST] * 3, **columns})


_TEXT = st.text(max_size=6)
_TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
_CELLS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "count": (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "small": (pl.Int8(), st.integers(-128, 127)),
    "amount": (pl.Float64(), st.floats(allow_nan=True)),
    "ratio": (pl.Float32(), st.floats(width=32)),
    "name": (pl.String(), _TEXT),
    "kind": (pl.Categorical(), _TEXT),
    "blob": (pl.Binary(), st.binary(max_size=4)),
    "flag": (pl.Boolean(), st.booleans()),
    "day": (pl.Date(), st.dates()),
    "time": (pl.Datetime("us", "UTC"), _TIMES),
    "path": (pl.List(pl.Float64()), st.lists(st.none() | st.floats(), max_size=3)),
    "pair": (
        pl.Struct({"a": pl.Int64(), "b": pl.String()}),
        st.fixed_dictionaries({"a": st.integers(0, 3), "b": _TEXT}),
    ),
}


@st.composite
def frames(draw: st.DrawFn, least: int = 0, most: int = 8) -> pl.DataFrame:
    """A frame with a column of every type and nulls among its values."""
    height = draw(st.integers(least, most))
    columns = {
        name: pl.Series(draw(st.lists(st.none() | cells, min_size=height, max_size=height)), dtype=kind)
        for name, (kind, cells) in _CELLS.items()
    }
    return pl.DataFrame(columns)


def cells_of(column: str) -> st.SearchStrategy[Any]:
    return _CELLS[column][1]
