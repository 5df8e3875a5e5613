"""A small leaderboard: families of models searched on the same folds, and the stack of the best of each.

The number of trials decides and the budget is only a limit, so that the result is the same on any machine that is fast
enough; a row says where the budget has cut its search.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models import calibration, metrics, stacking
from convergence.models.ensemble import STACK, Member, Rows
from convergence.models.families import Family
from convergence.models.tuning import suggested

OWN = "convergence"
OVERRUN = 0.1  # of the budget: no fit begins that would probably end later


class Entry(NamedTuple):
    """A row of a leaderboard; mean and standard deviation over the folds."""

    engine: str
    family: str
    auc: float
    auc_sd: float
    log_loss: float
    log_loss_sd: float
    brier: float
    brier_sd: float
    trials: int
    cut_by_budget: bool  # fewer trials than were asked for
    parameters: Mapping[str, Any]
    seconds: float  # of all fits of its trials: differs from run to run


@dataclass
class _Search:
    """A family's search as it goes on: its trials that were finished, and the margins of the best one."""

    family: Family
    study: Any
    trials: int = 0
    seconds: float = 0.0
    of_a_fit: float = 0.0
    loss: float = np.inf
    margins: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    parameters: Mapping[str, float] = field(default_factory=dict)


class _OutOfTimeError(Exception):
    """The budget is used up."""


def leaderboard(
    rows: Rows,
    fold: NDArray[np.int64],
    families: Sequence[Family],
    *,
    trials: int,
    budget: float,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> list[Entry]:
    """Search every family by log loss over given folds (TPE, by Optuna), then stack the best of each.

    A family's first trial is where it starts. Families take turns, so that a short budget leaves each of them some
    trials. Log odds of a fold are calibrated (Platt) on the other folds, and so are the stack's weights found: ranking
    is untouched, and families are compared as what would be served. Libraries are loaded before the clock starts.

    Args:
        rows: n rows, both classes.
        fold: the fold of each row, the same for all families.
        families: at least one.
        trials: of each family with something to search, at most.
        budget: seconds, respected within a tenth wherever a single fit takes less than that.
        seed: of the samplers; equal inputs give equal entries (but for their seconds) where the budget does not cut.
        clock: seconds.

    Returns:
        The least log loss first. A family without one finished trial is not there.

    Raises:
        ModelError: the budget did not suffice for a single trial, or is no number of seconds; no trial was asked for.
    """
    import optuna

    if trials < 1 or not budget >= 0:  # NaN would be a budget without an end
        raise ModelError(f"expected a trial or more within 0 s or more, found {trials} trials within {budget:g} s")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searches = [_begun(family, trials, seed) for family in families]
    for family in families:
        import_module(family.library)
    ends = clock() + budget
    try:
        for _ in range(trials):
            for search in searches:
                if not search.trials or search.family.space:
                    _try(search, rows, fold, ends, budget, clock)
    except _OutOfTimeError:
        pass
    finished = [search for search in searches if search.trials]
    if not finished:
        raise ModelError(
            f"the budget of {budget:g} s did not suffice for one trial of {families[0].name}: expected at least one "
            "fit per fold; give more seconds or fewer rows"
        )
    entries = [_entry(search, rows, fold, trials) for search in finished]
    if len(finished) > 1:
        entries.append(_stack(finished, rows, fold, clock))
    return sorted(entries, key=lambda entry: entry.log_loss)


def scored(margins: NDArray[np.float64], label: NDArray[np.bool_], fold: NDArray[np.int64]) -> dict[str, float]:
    """Mean and standard deviation over folds of AUC, log loss and Brier score of n log odds."""
    found = [
        (
            metrics.roc_auc(label[part], margins[part]),
            calibration.log_loss(margins[part], label[part]),
            metrics.brier(label[part], calibration.probability(margins[part])),
        )
        for part in (fold == number for number in np.unique(fold))
    ]
    means, deviations = np.mean(found, axis=0).tolist(), np.std(found, axis=0, ddof=1).tolist()
    names = ("auc", "log_loss", "brier")
    return dict(zip(names, means, strict=True)) | dict(zip((f"{n}_sd" for n in names), deviations, strict=True))


def _begun(family: Family, trials: int, seed: int) -> _Search:
    import optuna

    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, trials // 3))
    study = optuna.create_study(direction="minimize", sampler=sampler)  # in memory: nothing to keep, nothing pickled
    study.enqueue_trial(dict(family.start))
    return _Search(family, study)


def _try(
    search: _Search, rows: Rows, fold: NDArray[np.int64], ends: float, budget: float, clock: Callable[[], float]
) -> None:
    """One trial. Raises _OutOfTimeError; a trial that is not finished counts for nothing."""
    trial = search.study.ask()
    parameters = {name: suggested(trial, name, within) for name, within in search.family.space.items()}

    def fit(part: Rows) -> Member:
        begun = clock()
        if begun >= ends or begun + search.of_a_fit > ends + OVERRUN * budget:
            raise _OutOfTimeError
        member = search.family.fit(part, parameters)
        search.of_a_fit = clock() - begun
        search.seconds += search.of_a_fit
        return member

    margins = stacking.out_of_fold(rows, fit, fold)
    loss = calibration.log_loss(stacking.cross_fitted(margins[:, None], rows.label, fold), rows.label)
    search.study.tell(trial, loss)
    search.trials += 1
    if loss < search.loss:
        search.loss, search.margins, search.parameters = loss, margins, parameters


def _entry(search: _Search, rows: Rows, fold: NDArray[np.int64], trials: int) -> Entry:
    return Entry(
        engine=OWN,
        family=search.family.name,
        trials=search.trials,
        cut_by_budget=search.trials < (trials if search.family.space else 1),
        parameters=search.parameters,
        seconds=search.seconds,
        **scored(stacking.cross_fitted(search.margins[:, None], rows.label, fold), rows.label, fold),
    )


def _stack(searches: Sequence[_Search], rows: Rows, fold: NDArray[np.int64], clock: Callable[[], float]) -> Entry:
    begun = clock()
    margins = np.column_stack([search.margins for search in searches])
    weights, _ = calibration.rising_logistic(margins, rows.label)
    stacked = stacking.cross_fitted(margins, rows.label, fold)
    named = zip((search.family.name for search in searches), weights.tolist(), strict=True)
    return Entry(
        engine=OWN,
        family=STACK,
        trials=1,
        cut_by_budget=False,
        parameters={name: round(weight, 4) for name, weight in named},
        seconds=clock() - begun,
        **scored(stacked, rows.label, fold),
    )
