"""A stack for data without an order of time, or too few rows to set the newest aside: cross-fitted, then refitted.

Weights and calibration are found on margins of rows that a member has not seen (van der Laan et al., Super Learner,
2007); the members are then fitted again on all rows. `ensemble.fit` is its sibling for data that drift.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models import calibration
from convergence.models.calibration import Kind
from convergence.models.ensemble import Ensemble, Member, Rows


@dataclass(frozen=True)
class Stacked:
    """What a fit found.

    Attributes:
        served: members with weights and calibration, as `ensemble.checked_onnx` and `stored.load` take it.
        log_losses: of each kind of calibration on the last fold; the least was taken.
        scores: n probabilities that no member's fit has seen the label of, calibrated on the same rows.
    """

    served: Ensemble
    log_losses: Mapping[Kind, float]
    scores: NDArray[np.float64]


def stratified(label: NDArray[np.bool_], *, folds: int, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each of n rows, 0 to folds - 1, with as many positives in each as in any other, at random.

    Raises ModelError: fewer positives or negatives than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    least = int(min(label.sum(), (~label).sum()))
    if folds < 2 or least < folds:
        raise ModelError(
            f"cannot cut {len(label)} rows into {folds} folds: expected at least 2 folds and as many rows of each "
            f"class as folds, found {int(label.sum())} positives; give more rows or fewer folds"
        )
    fold = np.empty(len(label), np.int64)
    shuffled = StratifiedKFold(folds, shuffle=True, random_state=seed).split(label, label)
    for number, (_, judged) in enumerate(shuffled):
        fold[judged] = number
    return fold


def out_of_fold(rows: Rows, fit: Callable[[Rows], Member], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """n log odds, each by a member that was fitted on the rows of the other folds."""
    margins = np.empty(len(fold))
    for number in np.unique(fold):
        judged = fold == number
        margins[judged] = fit(rows.where(~judged)).margins(rows.values[judged])
    return margins


def fit(rows: Rows, fits: Mapping[str, Callable[[Rows], Member]], *, folds: int = 4, seed: int = 0) -> Stacked:
    """Fit members, the weights of their stack and its calibration on rows in any order.

    A member that brings nothing gets weight 0. The kind of calibration is chosen by log loss on the last fold, fitted
    on the others, and then fitted on all.

    Args:
        rows: both classes, at least as many rows of each as folds.
        fits: how each member is fitted, by name.
        folds: how many parts are held out in turn.
        seed: of the folds.

    Raises:
        ModelError: as `stratified`.
    """
    fold = stratified(rows.label, folds=folds, seed=seed)
    margins = np.column_stack([out_of_fold(rows, one, fold) for one in fits.values()])
    weights, _ = calibration.rising_logistic(margins, rows.label)
    stacked = margins @ weights
    losses = calibration.choose(stacked, rows.label, fold == folds - 1)
    calibrated = calibration.fit(next(iter(losses)), stacked, rows.label)
    members = {name: one(rows) for name, one in fits.items()}
    return Stacked(Ensemble(members, weights, calibrated), losses, calibration.probability(calibrated.apply(stacked)))


def cross_fitted(
    margins: NDArray[np.float64], label: NDArray[np.bool_], fold: NDArray[np.int64]
) -> NDArray[np.float64]:
    """n log odds of a stack of (n, m) out-of-fold margins, its weights and bias each found on the other folds."""
    found = np.empty(len(label))
    for number in np.unique(fold):
        judged = fold == number
        weights, bias = calibration.rising_logistic(margins[~judged], label[~judged])
        found[judged] = margins[judged] @ weights + bias
    return found
