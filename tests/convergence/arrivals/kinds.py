"""Columns of every Polars type, contracts of every kind, and what it means that a value is the one that was offered."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from io import BytesIO
from math import isfinite, isnan
from typing import Annotated, Any

import numpy as np
import pandera.polars as pa
import polars as pl

from convergence.arrivals.codecs import BROKEN, Messages
from convergence.arrivals.topics import Topic
from tests.convergence.arrivals.landing import NOON, TOPIC, Time, topic_with

KINDS: Mapping[str, Any] = {
    "Boolean": bool,
    "String": str,
    "Int64": int,
    "Float64": float,
    "Datetime": Time,
    "Date": date,
    "Binary": bytes,
    "Int8": pl.Int8,
    "UInt64": pl.UInt64,
    "Float32": pl.Float32,
    "Decimal": Annotated[pl.Decimal, 10, 2],
    "Milliseconds": Annotated[pl.Datetime, "ms", None],
    "Nanoseconds": Annotated[pl.Datetime, "ns", "UTC"],
    "List": Annotated[pl.List, pl.Int64()],
}

_WORDS = ["", "a", "TRUE", "0", "12", "-3", "3.0", "0.1", "1e400", "NaN", "9007199254740993", "18446744073709551616",
          "2024-01-05", "2024-1-05", "2024-01-05T12:00:00.000001Z", "2024-01-05T12:00:00.1234567Z", "2024-01-05 12:00",
          "2016-12-31T23:59:60Z", "2024-01-05T12:00:00+02:00", "0001-01-01T00:00:00+02:00", "1704456000", "[1]",
          "ü"]  # fmt: skip
_WHOLE = [0, 1, -1, 2, 127, 128, 255, 2**15, 2**24 + 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**100]
_REAL = [0.0, -0.0, 1.0, 0.5, 0.1, 3.0, 127.0, 2.0**24, 2.0**24 + 2, 2.0**53, 2.0**53 - 1, 2.0**63, 1e22, 1e300, 5e-324,
         float("nan"), float("inf"), float("-inf"), 57.16, 1_704_456_000.0]  # fmt: skip
_TIMES = [0, 1, 999, 1_000, 1_704_456_000_000_000, 86_400_000_000, -1, 1_704_456_000_123_456_789, 2**62, -(2**62)]


def _all() -> Iterator[pl.Series]:
    whole = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
    yield from (pl.Series([v for v in _WHOLE if _fits(v, kind)], dtype=kind) for kind in whole)
    yield pl.Series(_WHOLE, dtype=pl.Int128)
    yield from (pl.Series(_REAL, dtype=kind) for kind in (pl.Float64, pl.Float32))
    yield pl.Series([1.0, 0.5, 3.0, 2.0**11], dtype=pl.Float32).cast(pl.Float16)
    for precision, scale in ((10, 2), (38, 0), (38, 18), (5, 5)):
        numbers = ["0", "1", "0.1", "57.16", "3.005", "9007199254740993", "0.10000000000000001", "0.00001"]
        values = [Decimal(n) for n in numbers if _holds(Decimal(n), precision, scale)]
        yield pl.Series(values, dtype=pl.Decimal(precision, scale))
    yield pl.Series([True, False])
    yield pl.Series(_WORDS)
    yield pl.Series(_WORDS, dtype=pl.Categorical)
    yield pl.Series(_WORDS, dtype=pl.Enum(_WORDS))
    yield pl.Series([*(word.encode() for word in _WORDS), b"\xff", b"a\xc3", b"\x00"])
    yield pl.Series([0, 19_727, -719_162, -719_163, 2_932_896, 2_932_897, 2**31 - 1], dtype=pl.Int32).cast(pl.Date)
    for unit in ("ms", "us", "ns"):
        for zone in (None, "UTC", "Europe/Berlin"):
            yield pl.Series(_TIMES, dtype=pl.Int64).cast(pl.Datetime(unit, zone))
        yield pl.Series(_TIMES, dtype=pl.Int64).cast(pl.Duration(unit))
    yield pl.Series([time(0), time(1, 2, 3), time(23, 59, 59, 999_999)])
    yield pl.Series([[1, 2], [], [None]], dtype=pl.List(pl.Int64))
    yield pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2))
    yield pl.Series([{"a": b"\xff", "b": [date(2024, 1, 5)]}, {"a": None, "b": []}])
    yield pl.Series([None, None], dtype=pl.Null)


def _fits(value: int, kind: type[pl.DataType]) -> bool:
    bits, signed = int(str(kind).removeprefix("U").removeprefix("Int")), not str(kind).startswith("U")
    return (-(2 ** (bits - 1)) <= value < 2 ** (bits - 1)) if signed else (0 <= value < 2**bits)


def _holds(value: Decimal, precision: int, scale: int) -> bool:
    return Fraction(value) * 10**scale % 1 == 0 and abs(value) < 10 ** (precision - scale)


OFFERED = {str(column.dtype)[:60]: column.extend(pl.Series([None], dtype=column.dtype)) for column in _all()}


@cache
def topic_of(kind: str) -> Topic:
    """The small topic with a column `value` of this kind, which may be missing."""
    fields = {"value": KINDS[kind]}
    made = type("Kind", (TOPIC.contract,), {"__annotations__": fields, "value": pa.Field(nullable=True)})
    return topic_with(contract=made)


def as_file(values: pl.Series) -> Messages:
    """Good messages with these values in the column `value`, as a Parquet file gives them."""
    base = pl.DataFrame({"ID": range(len(values))}, schema={"ID": pl.Int64}).with_columns(
        event_time=pl.lit(NOON.replace(tzinfo=None), pl.Datetime("us")), amount=1.5, refunded=False, note=pl.lit("n")
    )
    written = BytesIO()
    base.with_columns(values.alias("value")).write_parquet(written)
    return Messages(
        pl.read_parquet(written.getvalue()).with_columns(offset=pl.int_range(pl.len())), pl.DataFrame(schema=BROKEN)
    )


def is_said(accepted: Any, kind: pl.DataType, offered: Any, there: pl.DataType) -> bool:
    """Whether an accepted value is the one that was offered: the oracle, which casts nothing.

    `offered`: a Python value; of times and durations, the count of their unit.
    """
    if isinstance(there, pl.Date | pl.Datetime):
        return _since_1970(accepted) == _microseconds(offered, there)
    if there == pl.Time:
        accepted = time.fromisoformat(accepted)
        since = timedelta(hours=accepted.hour, minutes=accepted.minute, seconds=accepted.second)
        return (since + timedelta(microseconds=accepted.microsecond)) // timedelta(microseconds=1) * 1_000 == offered
    if isinstance(offered, bytes):
        return accepted == offered or is_said(accepted, kind, offered.decode(), pl.String())
    if isinstance(accepted, bytes):
        return accepted.decode() == offered
    if isinstance(accepted, datetime | date) and isinstance(offered, str):
        return _as_time(offered) == _as_time(accepted.isoformat())
    if isinstance(accepted, bool) or isinstance(offered, bool):
        return _truth(accepted) == _truth(offered)
    if isinstance(accepted, str) and isinstance(offered, str):
        return accepted == offered
    if isinstance(offered, list):
        return accepted == offered
    return _is_number(accepted, kind, offered, there)


_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
    return {0: False, 1: True}[value]


def _since_1970(accepted: date | str) -> Fraction:
    text = (accepted if isinstance(accepted, str) else accepted.isoformat()).removesuffix("Z").removesuffix("+00:00")
    whole, _, fraction = text.partition(".")
    seconds = (datetime.fromisoformat(whole).replace(tzinfo=UTC) - _1970) // timedelta(seconds=1)
    return seconds * 1_000_000 + Fraction(f"0.{fraction or 0}") * 1_000_000


def _microseconds(count: int, there: pl.Date | pl.Datetime) -> Fraction:
    if isinstance(there, pl.Date):
        return Fraction(count * 86_400_000_000)
    return Fraction(count * 1_000_000, {"ms": 10**3, "us": 10**6, "ns": 10**9}[there.time_unit])


def _as_time(text: str) -> datetime:
    said = datetime.fromisoformat(text.strip())
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).astimezone(UTC)


def _is_number(accepted: Any, kind: pl.DataType, offered: Any, there: pl.DataType) -> bool:
    values = [
        float(v) if isinstance(v, str) and v.lower() in ("nan", "inf", "-inf") else v for v in (accepted, offered)
    ]
    if any(isinstance(v, float) and not isfinite(v) for v in values):
        return values[0] == values[1] or all(isnan(float(v)) for v in values)
    ways = [
        {_exact(v)} | ({_written(v, its)} if isinstance(v, float) else set())
        for v, its in zip(values, (kind, there), strict=True)
    ]
    if (
        isinstance(accepted, float) and isinstance(offered, str) and not offered.lstrip("+-").isdigit()
    ):  # a decimal is the float nearest to it
        return (float(np.float32(offered)) if kind == pl.Float32 else float(offered)) == accepted
    return bool(ways[0] & ways[1])


def _exact(value: Any) -> Fraction:
    return Fraction(Decimal(value) if not isinstance(value, Fraction) else value)


def _written(value: float, there: pl.DataType) -> Fraction:
    narrow = np.float32(value) if there == pl.Float32 else np.float16(value) if there == pl.Float16 else value
    return Fraction(str(narrow))


def offered_values(column: pl.Series) -> list[Any]:
    """What a column holds; of times and durations, the count of their unit."""
    return (column.to_physical() if column.dtype.is_temporal() else column).to_list()
