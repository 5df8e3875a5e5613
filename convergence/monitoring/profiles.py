"""The profile of a column in one partition: small, stored with the data, and summed to the profile of any window.

It is a histogram on the grid of the floating-point numbers themselves: a value's bin is its binary form without the
last `shift` bits, and `shift` is the least that leaves at most BINS occupied bins. That depends on the values alone,
not on their order or on how they were cut into partitions, so a sum of profiles is exactly the profile of all rows;
and columns with few distinct values are kept exactly. (The uniform collapse of UDDSketch, Epicoco et al. 2020, with
the grid of HDR histograms.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ConvergenceError

BINS = 8192  # the KS distance of 1 M rows from 1 M is then right to 1e-4 (measured: docs/benchmarks.md)

STORED = pl.Schema(
    {
        "rows": pl.Int64,
        "nulls": pl.Int64,
        "nans": pl.Int64,
        "infinities": pl.Int64,
        "lowest": pl.Float64,
        "highest": pl.Float64,
        "shift": pl.Int64,
        "steps": pl.List(pl.Int64),
        "counts": pl.List(pl.Int64),
        "labels": pl.List(pl.String),
    }
)

_LISTS = ("steps", "counts", "labels")
_MAGNITUDE = np.int64(2**63 - 1)
_LARGEST = np.float64(np.finfo(np.float64).max).view(np.int64)


@dataclass(frozen=True)
class Profile:
    """Counts of a column: what is missing, and how the present values are distributed.

    Numbers have ascending `bins` with their `counts`; text has `labels` in alphabetical order instead.
    """

    rows: int
    nulls: int
    nans: int
    infinities: int
    lowest: float | None  # finite value
    highest: float | None
    shift: int
    bins: NDArray[np.int64]
    counts: NDArray[np.int64]
    labels: tuple[str, ...] | None = None

    @property
    def present(self) -> int:
        """Rows with a finite number or a label."""
        return self.rows - self.missing

    @property
    def missing(self) -> int:
        """Rows with null, NaN or an infinity."""
        return self.nulls + self.nans + self.infinities

    @property
    def exact(self) -> bool:
        """Whether each bin is one value."""
        return self.shift == 0

    def at(self, shift: int) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """Bins and counts on a grid that is no finer than the profile's own."""
        return _summed(self.bins >> (shift - self.shift), self.counts)

    def quantile(self, share: float) -> float:
        """The value below or at which this share of the present numbers lies; the upper end of its bin."""
        cumulated = np.cumsum(self.counts)
        place = int(np.searchsorted(cumulated, np.ceil(share * cumulated[-1]), "left"))
        end, highest = float(upper_end(self.bins[place], self.shift)), self.highest
        return end if highest is None or end < highest else highest

    def row(self) -> dict[str, Any]:
        """The profile as one row of STORED."""
        named = {name: getattr(self, name) for name in STORED if name not in _LISTS}
        # small numbers, which take little space; from a negative bin to a positive one the sum wraps round, both ways
        steps = np.diff(self.bins, prepend=np.int64(0))
        labels = None if self.labels is None else list(self.labels)
        return {**named, "steps": pl.Series(steps), "counts": pl.Series(self.counts), "labels": labels}


def profile(column: pl.Series) -> Profile:
    """The profile of a column of numbers, Booleans (as 0 and 1) or text. Raises ConvergenceError for other types."""
    kind, rows, nulls = column.dtype, len(column), column.null_count()
    if kind in (pl.String, pl.Categorical, pl.Enum):
        found = column.drop_nulls().cast(pl.String).value_counts(name="rows").sort(column.name)
        return _of_labels(found[column.name].to_list(), found["rows"].cast(pl.Int64).to_numpy(), rows, nulls, column)
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
        raise ConvergenceError(
            f"column {column.name!r} is {kind}: a profile takes numbers, Booleans or text. Cast it, or leave it out"
        )
    values = column.drop_nulls().cast(pl.Float64).to_numpy()
    finite = values[np.isfinite(values)]
    keys, counts = np.unique(_keys(finite), return_counts=True)
    lowest, highest = (float(finite.min()) + 0.0, float(finite.max()) + 0.0) if len(finite) else (None, None)
    nans = int(np.isnan(values).sum())
    infinities = len(values) - len(finite) - nans
    return Profile(rows, nulls, nans, infinities, lowest, highest, *_collapsed(keys, counts.astype(np.int64), 0))


def merge(profiles: Iterable[Profile]) -> Profile:
    """The profile of all rows of these profiles of one column. Raises ConvergenceError for text with numbers."""
    parts = list(profiles)
    if not parts:
        raise ConvergenceError("there is no profile to merge: the window holds no partition; materialize its days")
    rows, nulls, nans, infinities = (sum(getattr(p, n) for p in parts) for n in ("rows", "nulls", "nans", "infinities"))
    if any(p.labels is not None for p in parts):
        if any(p.labels is None and p.present for p in parts):
            raise ConvergenceError("a column held text in some partitions and numbers in others; profile them anew")
        tally: dict[str, int] = {}
        for part in parts:
            for label, count in zip(part.labels or (), part.counts.tolist(), strict=True):
                tally[label] = tally.get(label, 0) + count
        labels = sorted(tally)
        return _of_labels(labels, np.array([tally[label] for label in labels], np.int64), rows, nulls)
    shift = max(p.shift for p in parts)
    bins, counts = _summed(
        np.concatenate([p.bins >> (shift - p.shift) for p in parts]), np.concatenate([p.counts for p in parts])
    )
    ends = [[e for p in parts if (e := getattr(p, n)) is not None] for n in ("lowest", "highest")]
    lowest, highest = min(ends[0], default=None), max(ends[1], default=None)
    return Profile(rows, nulls, nans, infinities, lowest, highest, *_collapsed(bins, counts, shift))


def profile_rows(frame: pl.DataFrame, columns: Sequence[str], **shared: Any) -> pl.DataFrame:
    """One row per column: its name as `feature`, the columns of STORED, and what all rows share."""
    rows = [{"feature": column, **profile(frame[column]).row()} for column in columns]
    schema = pl.Schema({"feature": pl.String, **STORED})
    # the types come afterwards: with them, lists would be taken apart number by number
    named = pl.DataFrame([pl.Series(name, [row[name] for row in rows]) for name in schema]).cast(schema)
    return named.with_columns(pl.lit(value).alias(name) for name, value in shared.items())


def stored(rows: pl.DataFrame) -> list[Profile]:
    """The profiles that rows of STORED hold, in their order."""
    plain = rows.select(name for name in STORED if name not in _LISTS).iter_rows(named=True)
    steps, counts = (_lists(rows[name]) for name in ("steps", "counts"))
    labels = (None if found is None else tuple(found) for found in rows["labels"].to_list())
    return [
        Profile(**row, bins=np.cumsum(step), counts=count, labels=label)
        for row, step, count, label in zip(plain, steps, counts, labels, strict=True)
    ]


class DatedProfiles:
    """Stored profiles of columns by day, to be summed over windows: rows with `event_date`, `feature` and STORED."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self._held: dict[str, dict[date, list[Profile]]] = {}
        for day, name, found in zip(rows["event_date"], rows["feature"], stored(rows), strict=True):
            self._held.setdefault(name, {}).setdefault(day, []).append(found)

    def days(self, first: date, last: date) -> list[date]:
        """The days of a window that have a profile, in order."""
        return sorted({day for held in self._held.values() for day in held if first <= day <= last})

    def window(self, first: date, last: date) -> dict[str, Profile]:
        """The profile of each column that has one in the window, both ends included."""
        parts = {
            name: [p for day, profiles in held.items() if first <= day <= last for p in profiles]
            for name, held in self._held.items()
        }
        return {name: merge(found) for name, found in parts.items() if found}


def upper_end(bins: Any, shift: int) -> Any:
    """The largest number of a bin, elementwise."""
    keys = np.minimum((np.asarray(bins, np.int64) << shift) | np.int64(2**shift - 1), _LARGEST)
    return np.where(keys < 0, keys ^ _MAGNITUDE, keys).view(np.float64)[()]


def _lists(column: pl.Series) -> list[NDArray[np.int64]]:
    """The lists of a column as arrays."""
    ends = np.cumsum(column.list.len())
    return np.split(column.explode(empty_as_null=False).to_numpy(), ends[:-1])[: len(ends)]  # no list: one empty part


def _keys(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Integers in the order of the numbers: the binary form, with the magnitude of negative ones turned round."""
    bits = (values + 0.0).view(np.int64)  # -0.0 becomes 0.0
    return np.where(bits < 0, bits ^ _MAGNITUDE, bits)


def _collapsed(
    bins: NDArray[np.int64], counts: NDArray[np.int64], shift: int
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """The least shift, from the present one on, that leaves at most BINS bins; and those."""
    if len(bins) <= BINS:
        return shift, bins, counts
    apart = (bins[1:] ^ bins[:-1]).view(np.uint64)  # two neighbours fall into one bin once this has been shifted out
    more = 0
    while np.count_nonzero(apart >> np.uint64(more)) >= BINS:
        more += 1
    return shift + more, *_summed(bins >> more, counts)


def _summed(bins: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Equal bins added up, in ascending order."""
    if not len(bins):
        return bins, counts
    if (bins[1:] < bins[:-1]).any():
        order = np.argsort(bins, kind="stable")
        bins, counts = bins[order], counts[order]
    starts = np.concatenate([[0], np.flatnonzero(bins[1:] != bins[:-1]) + 1])
    return bins[starts], np.add.reduceat(counts, starts)


def _of_labels(
    labels: list[str], counts: NDArray[np.int64], rows: int, nulls: int, column: pl.Series | None = None
) -> Profile:
    if len(labels) > BINS:
        where = f"column {column.name!r}" if column is not None else "the window of a column"
        raise ConvergenceError(
            f"{where} holds {len(labels)} different texts, a profile at most {BINS}: leave out what names single rows"
        )
    return Profile(rows, nulls, 0, 0, None, None, 0, np.arange(len(labels)), counts, tuple(labels))
