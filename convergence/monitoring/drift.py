"""How much each column of a window differs from a reference window, told from profiles alone: no row is read again.

A column has drifted where an *effect* is large (PSI or the Kolmogorov-Smirnov distance above a limit) and is no
accident of few rows (its p-value, corrected over all columns by Benjamini and Hochberg, below a level). The p-value
never decides alone: with a million rows every difference is significant.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ConvergenceError
from convergence.monitoring.profiles import Profile, upper_end

STABLE, WATCH, DRIFT = "stable", "watch", "drift"

COMPARED = pl.Schema(
    {
        "feature": pl.String,
        "effect": pl.Float64,
        "psi": pl.Float64,
        "ks": pl.Float64,
        "ks_error": pl.Float64,
        "p_psi": pl.Float64,
        "p_ks": pl.Float64,
        "psi_limit": pl.Float64,
        "ks_limit": pl.Float64,
        "verdict": pl.String,
        "note": pl.String,
        "reference_rows": pl.Int64,
        "current_rows": pl.Int64,
    }
)

_FLOOR = 1e-4  # the least share of a cell, so that an empty one weighs much and not infinitely
_FEW = 20  # values: up to so many, each is a cell of its own


@dataclass(frozen=True)
class Limits:
    """Effects from which a column is watched or has drifted, and the level of the corrected p-values.

    PSI of 0.1 and 0.25 are the custom of credit scoring (Siddiqi, Credit Risk Scorecards, 2006). KS is the largest
    share of rows that moved past a value.
    """

    watch_psi: float = 0.1
    drift_psi: float = 0.25
    watch_ks: float = 0.1
    drift_ks: float = 0.2
    significance: float = 0.01


@dataclass(frozen=True)
class Difference:
    """The effects on one column, uncorrected p-values, and what strikes the eye. KS is None for text."""

    psi: float
    ks: float | None
    ks_error: float | None  # the KS distance of the rows is at least `ks` and at most so much more
    p_psi: float
    p_ks: float | None
    note: str


def compare(
    reference: Mapping[str, Profile],
    current: Mapping[str, Profile],
    limits: Limits = Limits(),
) -> pl.DataFrame:
    """One row of COMPARED per column of either window, the worst first; a column that is gone or new has drifted.

    Raises ConvergenceError where a window has no rows.
    """
    for window, profiles in (("reference", reference), ("current", current)):
        if not any(p.rows for p in profiles.values()):
            raise ConvergenceError(f"the {window} window holds no rows to compare: materialize its days first")
    both = {name: difference(old, current[name]) for name, old in reference.items() if name in current}
    corrected = iter(_corrected([p for d in both.values() for p in (d.p_psi, d.p_ks) if p is not None]))
    rows = []
    for name in dict.fromkeys([*reference, *current]):
        counts = [p[name].rows if name in p else 0 for p in (reference, current)]
        bounds = limits.drift_psi, limits.drift_ks
        if found := both.get(name):
            p_psi, p_ks = next(corrected), None if found.p_ks is None else next(corrected)
            verdict = _verdict(found, p_psi, p_ks, limits)
            effect = max(found.psi / limits.drift_psi, (found.ks or 0.0) / limits.drift_ks)
            rows.append(
                (name, effect, found.psi, found.ks, found.ks_error, p_psi, p_ks, *bounds, verdict, found.note, *counts)
            )
        else:
            note = "is no longer there" if name in reference else "is new: the reference does not have it"
            rows.append((name, None, None, None, None, None, None, *bounds, DRIFT, note, *counts))
    return worst_first(pl.DataFrame(rows, schema=COMPARED, orient="row"))


def worst_first(judged: pl.DataFrame) -> pl.DataFrame:
    """Rows with `verdict`, `effect` and `feature`, drift before watch before stable, the largest effect first."""
    severity = pl.col("verdict").replace_strict({STABLE: 0, WATCH: 1, DRIFT: 2}, return_dtype=pl.Int64)
    largest = pl.col("effect").fill_null(float("inf"))  # a column that left or came
    return judged.sort(severity, largest, "feature", descending=[True, True, False])


def difference(reference: Profile, current: Profile) -> Difference:
    """How one column differs between two windows."""
    from scipy.special import chdtrc, kolmogorov

    if (reference.labels is None) != (current.labels is None) and reference.present and current.present:
        raise ConvergenceError("a column holds text in one window and numbers in the other: they cannot be compared")
    old, new = _aligned(reference, current)
    ks = ks_error = p_ks = None
    if reference.labels is None and current.labels is None:
        ks, ks_error = ks_distance(old, new, exact=reference.exact and current.exact)
        effective = reference.present * current.present / max(reference.present + current.present, 1)
        p_ks = float(kolmogorov(ks * effective**0.5))
    cells = _cells(reference, old, new)
    counts = np.array([[*cells[0], reference.missing], [*cells[1], current.missing]], dtype=np.float64)
    statistic, freedom = _homogeneity(counts)
    p_psi = float(chdtrc(freedom, statistic)) if freedom else 1.0
    return Difference(psi(*counts), ks, ks_error, p_psi, p_ks, _note(reference, current))


def psi(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Population stability index of counts per cell: sum of (c - r) ln(c / r) over their shares, none below 1e-4."""
    old, new = (np.maximum(counts / max(counts.sum(), 1), _FLOOR) for counts in (reference, current))
    return float(((new - old) * np.log(new / old)).sum())


def ks_distance(
    reference: NDArray[np.int64], current: NDArray[np.int64], *, exact: bool = False
) -> tuple[float, float]:
    """Largest distance of two cumulated distributions at the ends of common bins, and how much larger it may be within.

    1.0 where only one of them has values: nothing is left where it was.
    """
    old_sum, new_sum = reference.sum(), current.sum()
    if not old_sum or not new_sum:
        return float(bool(old_sum) != bool(new_sum)), 0.0
    old, new = reference / old_sum, current / new_sum
    at_end = np.cumsum(old) - np.cumsum(new)
    distance = min(float(np.abs(at_end).max()), 1.0)
    if exact:
        return distance, 0.0
    at_start = at_end - old + new
    above = np.minimum(at_start + old, at_end + new).max()
    below = np.minimum(new - at_start, old - at_end).max()
    return distance, float(max(above - distance, below - distance, 0.0))


def _aligned(reference: Profile, current: Profile) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts of both on the bins or labels that either has, in their order."""
    if reference.labels is not None or current.labels is not None:
        names = {label: n for n, label in enumerate(sorted({*(reference.labels or ()), *(current.labels or ())}))}
        places = [np.array([names[label] for label in p.labels or ()], np.int64) for p in (reference, current)]
        size, found = len(names), [p.counts for p in (reference, current)]
    else:
        shift = max(reference.shift, current.shift)
        (old_bins, old), (new_bins, new) = reference.at(shift), current.at(shift)
        bins = np.concatenate([old_bins, new_bins])
        bins.sort(kind="stable")  # of two runs in order: a merge
        bins = bins[np.diff(bins, prepend=bins[:1] - 1) != 0]
        places = [np.searchsorted(bins, old_bins), np.searchsorted(bins, new_bins)]
        size, found = len(bins), [old, new]
    spread = np.zeros((2, size), np.int64)
    for row, place, counts in zip(spread, places, found, strict=True):
        row[place] = counts
    return spread[0], spread[1]


def _cells(
    reference: Profile, old: NDArray[np.int64], new: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts per cell: labels and few values stand alone, with one cell for new ones; else the reference's tenths."""
    if reference.labels is not None or (reference.exact and len(reference.bins) <= _FEW):
        known = old > 0
        return np.append(old[known], 0), np.append(new[known], new[~known].sum())
    if not len(old):
        return old, new
    cumulated = np.cumsum(old)
    ends = np.searchsorted(cumulated, np.ceil(np.arange(1, 10) / 10 * cumulated[-1]), "left") + 1
    starts = np.unique([0, *ends[ends < len(old)]])
    return np.add.reduceat(old, starts), np.add.reduceat(new, starts)


def _homogeneity(counts: NDArray[np.float64]) -> tuple[float, int]:
    """Pearson's statistic of two rows of counts, and its degrees of freedom."""
    counts = counts[:, counts.sum(axis=0) > 0]
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    if not rows.all() or len(columns) < 2:
        return 0.0, 0
    expected = np.outer(rows, columns) / rows.sum()
    return float(((counts - expected) ** 2 / expected).sum()), len(columns) - 1


def _corrected(p_values: list[float]) -> list[float]:
    """P-values by which a share of false alarms among the alarms is kept (Benjamini and Hochberg, 1995)."""
    from scipy.stats import false_discovery_control

    return false_discovery_control(p_values).tolist() if p_values else []


def _verdict(found: Difference, p_psi: float, p_ks: float | None, limits: Limits) -> str:
    effects = [(found.psi, p_psi, limits.watch_psi, limits.drift_psi)]
    if found.ks is not None and p_ks is not None:
        effects.append((found.ks, p_ks, limits.watch_ks, limits.drift_ks))
    real = [(effect, watch, drift) for effect, p, watch, drift in effects if p <= limits.significance]
    if any(effect >= drift for effect, _, drift in real):
        return DRIFT
    return WATCH if any(effect >= watch for effect, watch, _ in real) else STABLE


def _note(reference: Profile, current: Profile) -> str:
    """What a person would see first: everything missing, another unit, new values, more gaps, another middle."""
    if not reference.present or not current.present:
        both = reference.present == current.present
        return "has no values" if both else "has no values now" if reference.present else "had no values before"
    notes = []
    before, now = reference.missing / reference.rows, current.missing / current.rows
    if abs(now - before) >= 0.01:
        notes.append(f"missing {before:.1%}, now {now:.1%}")
    if new := _new_values(reference, current):
        notes.append(f"new values: {', '.join(new[:5])}{' ...' if len(new) > 5 else ''}")
    if reference.labels is None and current.labels is None:
        old, middle = ([p.quantile(share) for share in (0.25, 0.5, 0.75)] for p in (reference, current))
        factors = [n / o for o, n in zip(old, middle, strict=True) if o]
        factor = sorted(factors)[1] if len(factors) == 3 else 1.0
        if max(factor, 1 / factor if factor else 0) > 1.5 and max(factors) - min(factors) < 0.1 * abs(factor):
            notes.append(f"values are {factor:.3g} times as large: has a unit changed?")
        elif old[1] != middle[1]:
            notes.append(f"median {old[1]:.4g}, now {middle[1]:.4g}")
    return "; ".join(notes)


def _new_values(reference: Profile, current: Profile) -> list[str]:
    """Values that the reference does not have, where it has few."""
    if reference.labels is not None:
        return sorted({*(current.labels or ())} - {*reference.labels})
    if not (reference.exact and current.exact and len(reference.bins) <= _FEW):
        return []
    return [f"{value:g}" for value in upper_end(np.setdiff1d(current.bins, reference.bins), 0).tolist()]
