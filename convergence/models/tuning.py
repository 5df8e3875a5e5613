"""The search for parameters as a pure function: folds in order of time, a seeded sampler, its trials as the result.

What is in use is the first trial, and stays unless something else beats it by more than one standard error: the best of
many trials on the same days always looks better than it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models.ensemble import Member, Rows
from convergence.models.metrics import Interval, average_precision, bootstrap_interval

if TYPE_CHECKING:
    import optuna


class Range(NamedTuple):
    """Where a parameter is looked for, both ends included; whole numbers if both ends are."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Fold:
    """Rows to fit on, and later rows to judge by."""

    fitted_on: Rows
    judged_on: Rows


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        parameters: the best trial's, or those in use where it does not clearly beat them.
        value: their mean average precision over the folds.
        changed: whether they are others than those in use.
        reason: why, with the figures.
        trials: number, mean average precision (`value`), that of each fold, and parameters; in order.
        importance: share of the trials' variance that goes with each parameter (fANOVA), largest first.
    """

    parameters: Mapping[str, float]
    value: float
    changed: bool
    reason: str
    trials: list[dict[str, Any]]
    importance: Mapping[str, float]


def tune(
    folds: Sequence[Fold],
    fit: Callable[[Rows, Mapping[str, float]], Member],
    space: Mapping[str, Range],
    in_use: Mapping[str, float],
    *,
    trials: int,
    seed: int = 0,
    repetitions: int = 50,
) -> Tuned:
    """Search parameters by mean average precision over folds (TPE, Bergstra et al., NeurIPS 2011, by Optuna).

    Equal inputs give equal results where `fit` does.

    Args:
        folds: at least one; every row of a fold's `fitted_on` is earlier than those of its `judged_on`.
        fit: a model of rows and parameters.
        space: what is searched.
        in_use: a value for each name in `space`, within its range: the first trial.
        trials: how many are made, the first included.
        seed: of sampler and bootstrap.
        repetitions: draws of days for the standard error.

    Raises:
        ModelError: what is in use lies outside of `space`, or a fold is judged on days that it was fitted on.
        ConvergenceError: as `fit`, or a fold has one class only.
    """
    import optuna

    _check(folds, space, in_use)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, trials // 3))
    study = optuna.create_study(direction="maximize", sampler=sampler)  # in memory: nothing to keep, nothing pickled
    study.enqueue_trial(dict(in_use))
    made: list[dict[str, Any]] = []
    margins: list[list[NDArray[np.float64]]] = []
    for number in range(trials):
        trial = study.ask()
        parameters = {name: suggested(trial, name, space[name]) for name in space}
        margins.append([fit(fold.fitted_on, parameters).margins(fold.judged_on.values) for fold in folds])
        values = [average_precision(f.judged_on.label, m) for f, m in zip(folds, margins[-1], strict=True)]
        made.append({"number": number, "value": float(np.mean(values)), "folds": values, "parameters": parameters})
        study.tell(trial, made[-1]["value"])
    best = max(made, key=lambda t: t["value"])["number"]
    gain = _gain(folds, margins[best], margins[0], repetitions, seed)
    changed = gain.estimate > gain.standard_error
    taken = made[best if changed else 0]
    reason = (
        f"the best of {trials} trials ({best}) differs from what is in use by {gain.estimate:+.4f} mean average "
        f"precision over {len(folds)} folds, standard error {gain.standard_error:.4f}: "
        f"{'its parameters are taken' if changed else 'what is in use stays'}"
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return Tuned(taken["parameters"], taken["value"], changed, reason, made, importance)


def _check(folds: Sequence[Fold], space: Mapping[str, Range], in_use: Mapping[str, float]) -> None:
    outside = [name for name, r in space.items() if not r.low <= in_use.get(name, np.nan) <= r.high]
    if outside or in_use.keys() != space.keys():
        raise ModelError(
            f"what is in use must lie inside of what is searched: expected a value in range for each of {list(space)}, "
            f"found {dict(in_use)}, of which {outside} are outside; widen the ranges"
        )
    for number, fold in enumerate(folds):
        if fold.fitted_on.day.max() >= fold.judged_on.day.min():
            raise ModelError(
                f"fold {number} is fitted on days up to {fold.fitted_on.day.max()} and judged from "
                f"{fold.judged_on.day.min()} on; expected only earlier days in its fit: cut it in time"
            )


def suggested(trial: "optuna.Trial", name: str, within: Range) -> float:
    """A value for a parameter, with three significant digits where it is not whole."""
    low, high, log = within
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return float(f"{trial.suggest_float(name, low, high, log=log):.3g}")


def _gain(
    folds: Sequence[Fold],
    ours: Sequence[NDArray[np.float64]],
    theirs: Sequence[NDArray[np.float64]],
    repetitions: int,
    seed: int,
) -> Interval:
    """How much more mean average precision one trial has than another, days resampled."""
    rows = pl.concat(
        pl.DataFrame({"fold": number, "day": f.judged_on.day, "label": f.judged_on.label, "ours": a, "theirs": b})
        for number, (f, a, b) in enumerate(zip(folds, ours, theirs, strict=True))
    )

    def more(part: pl.DataFrame) -> float:
        each = part.partition_by("fold")
        return float(
            np.mean(
                [average_precision(f["label"], f["ours"]) - average_precision(f["label"], f["theirs"]) for f in each]
            )
        )

    return bootstrap_interval(rows, more, by="day", repetitions=repetitions, seed=seed)
