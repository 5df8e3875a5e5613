"""How a score treats groups: each group's measures with intervals, and the gaps between groups with limits.

A gap is judged by its interval: above its limit as a whole it is exceeded, partly it is to be watched. So a group of a
few dozen people is neither accused nor acquitted by chance.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ConvergenceError
from convergence.models import metrics

GAP = "gap"
WITHIN, WATCHED, EXCEEDED = "within", "watched", "exceeded"
SCHEMA = pl.Schema(
    {
        "attribute": pl.String(),
        "group": pl.String(),  # a value of the attribute, or GAP: the greatest difference between two of them
        "measure": pl.String(),
        "rows": pl.Int64(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "limit": pl.Float64(),  # of a gap
        "verdict": pl.String(),  # of a gap: within, watched (the interval reaches beyond the limit) or exceeded
    }
)


class _Part(NamedTuple):
    label: NDArray[np.bool_]
    score: NDArray[np.float64]
    selected: NDArray[np.bool_]


def _rate(of: Callable[[_Part], NDArray[np.bool_]]) -> Callable[[_Part], float]:
    def rate(part: _Part) -> float:
        return float(part.selected[of(part)].mean())

    return rate


# Hardt et al., Equality of Opportunity in Supervised Learning, NeurIPS 2016: rates among those who left, and stayed.
MEASURES: Mapping[str, Callable[[_Part], float]] = {
    "roc_auc": lambda part: metrics.roc_auc(part.label, part.score),
    "calibration": lambda part: float(part.score.mean() - part.label.mean()),
    "selection_rate": _rate(lambda part: np.ones(len(part.label), np.bool_)),
    "true_positive_rate": _rate(lambda part: part.label),
    "false_positive_rate": _rate(lambda part: ~part.label),
}


def measured(
    label: NDArray[np.bool_],
    score: NDArray[np.float64],
    groups: Mapping[str, Sequence[str]],
    *,
    selected: NDArray[np.bool_],
    limits: Mapping[str, float],
    repetitions: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> pl.DataFrame:
    """Each group's measures and the gaps between groups, with percentile intervals of a bootstrap of rows.

    Measures: ROC AUC; calibration (mean score less share of positives); and the share selected of all, of the positives
    (equal opportunity) and of the negatives.

    Args:
        label: n values.
        score: n probabilities.
        groups: attribute -> the group of each row.
        selected: whether each row is acted upon.
        limits: the greatest gap of each measure.
        repetitions: draws of the bootstrap, within groups; one with a single class is drawn again.
        seed: of the draws.
        level: coverage of the intervals.

    Returns:
        Rows of SCHEMA, by attribute, measure and group, the gap last.

    Raises:
        ConvergenceError: a measure has no limit, or a group has not both classes.
    """
    if missing := sorted(MEASURES.keys() - limits.keys()):
        raise ConvergenceError(f"no limit for the gap of {', '.join(missing)}; give one for each measure")
    rows = []
    for attribute, values in groups.items():
        of_row = np.asarray(values, dtype=str)
        names = sorted(set(of_row.tolist()))
        parts = {}
        for name in names:
            which = of_row == name
            positives = int(label[which].sum())
            if not 0 < positives < which.sum():
                raise ConvergenceError(
                    f"{attribute} {name}: {int(which.sum())} rows, {positives} positives; expected both classes in "
                    "every group; measure over more rows or join small groups"
                )
            parts[name] = _Part(label[which], score[which], selected[which])
        if len(names) < 2:
            raise ConvergenceError(f"{attribute} has one group, {names}; expected at least two to compare")
        draws = {n: _drawn(part, repetitions, np.random.default_rng([seed, i]))
                 for i, (n, part) in enumerate(parts.items())}  # fmt: skip
        for place, (measure, of) in enumerate(MEASURES.items()):
            values_of = {name: of(part) for name, part in parts.items()}
            for name in names:
                low, high = _interval(draws[name][:, place], level)
                rows.append((attribute, name, measure, len(parts[name].label), values_of[name], low, high, None, None))
            spread = np.stack([draws[name][:, place] for name in names])
            most, least = max(names, key=values_of.__getitem__), min(names, key=values_of.__getitem__)
            # of the two groups that are furthest apart, with its sign: the maximum of each draw would never be near 0
            low, high = _interval(spread[names.index(most)] - spread[names.index(least)], level)
            gap, limit = values_of[most] - values_of[least], limits[measure]
            rows.append((attribute, GAP, measure, len(label), gap, low, high, limit, verdict(low, high, limit)))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def verdict(low: float, high: float, limit: float) -> str:
    """What the interval of a gap says of its limit."""
    return EXCEEDED if low > limit else WATCHED if high > limit else WITHIN


def _drawn(part: _Part, repetitions: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """(repetitions, measures) of rows drawn with replacement."""
    found: list[list[float]] = []
    while len(found) < repetitions:
        rows = draw.integers(len(part.label), size=len(part.label))
        again = _Part(part.label[rows], part.score[rows], part.selected[rows])
        if 0 < again.label.sum() < len(rows):
            found.append([of(again) for of in MEASURES.values()])
    return np.array(found)


def _interval(draws: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
