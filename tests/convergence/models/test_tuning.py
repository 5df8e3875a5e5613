"""The search for parameters: seeded, judged on later days, and slow to change what is in use."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models import tuning
from convergence.models.ensemble import Rows
from convergence.models.onnx_graph import Graph
from convergence.models.tuning import Fold, Range, tune

SPACE = {"angle": Range(-1.0, 1.0), "unused": Range(1, 4)}
BEST, POOR = {"angle": 0.5, "unused": 2}, {"angle": -0.9, "unused": 2}


@dataclass(frozen=True)
class Direction:
    """A member that looks at the rows from one direction."""

    angle: float

    def margins(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        return (values[:, 0] * np.cos(self.angle) + values[:, 1] * np.sin(self.angle)).astype(np.float64)

    def add_to(self, graph: Graph, values: str) -> str:
        raise NotImplementedError


def rows(first: int, days: int, seed: int) -> Rows:
    """Rows whose label is told best from the direction 0.5."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(days * 100, 2)).astype(np.float32)
    label = Direction(0.5).margins(values) + rng.normal(scale=0.5, size=len(values)) > 1
    day = np.datetime64("2018-06-01") + np.repeat(np.arange(first, first + days), 100)
    return Rows(values, label, day, np.ones(len(values)))


FOLDS = [Fold(rows(0, 7, 1), rows(14, 7, 2)), Fold(rows(0, 14, 3), rows(21, 7, 4))]


def fit(_: Rows, parameters: Mapping[str, float]) -> Direction:
    return Direction(parameters["angle"])


def test_the_search_finds_better_parameters_and_says_by_how_much() -> None:
    found = tune(FOLDS, fit, SPACE, POOR, trials=15, seed=1)
    assert found.changed
    assert abs(found.parameters["angle"] - 0.5) < 0.3
    assert found.value == max(trial["value"] for trial in found.trials)
    assert "its parameters are taken" in found.reason
    assert next(iter(found.importance)) == "angle"


def test_what_is_in_use_is_the_first_trial_and_stays_if_nothing_clearly_beats_it() -> None:
    found = tune(FOLDS, fit, SPACE, BEST, trials=15, seed=1)
    assert found.trials[0]["parameters"] == BEST
    assert (found.changed, found.parameters) == (False, BEST)
    assert found.value == found.trials[0]["value"]
    assert "what is in use stays" in found.reason


def test_equal_inputs_give_equal_trials_and_another_seed_others() -> None:
    first = tune(FOLDS, fit, SPACE, POOR, trials=6, seed=1)
    assert tune(FOLDS, fit, SPACE, POOR, trials=6, seed=1) == first
    assert tune(FOLDS, fit, SPACE, POOR, trials=6, seed=2).trials != first.trials


def test_a_trials_value_is_the_mean_of_its_folds_and_every_parameter_is_in_range() -> None:
    for trial in tune(FOLDS, fit, SPACE, POOR, trials=10).trials:
        assert trial["value"] == pytest.approx(np.mean(trial["folds"]))
        assert len(trial["folds"]) == len(FOLDS)
        assert -1 <= trial["parameters"]["angle"] <= 1
        assert trial["parameters"]["unused"] in (1, 2, 3, 4)


def test_the_gain_is_measured_between_the_two_trials_over_the_folds() -> None:
    ours, theirs = ([Direction(angle).margins(f.judged_on.values) for f in FOLDS] for angle in (0.5, -0.9))
    found = tuning._gain(FOLDS, ours, theirs, 50, 0)
    trials = tune(FOLDS, fit, {"angle": Range(-1.0, 1.0)}, {"angle": -0.9}, trials=2).trials
    best = np.mean([tuning.average_precision(f.judged_on.label, m) for f, m in zip(FOLDS, ours, strict=True)])
    assert found.estimate == pytest.approx(best - trials[0]["value"])
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("wrong", [{"angle": 2.0, "unused": 2}, {"angle": 0.0}, {**BEST, "other": 1}], ids=str)
def test_what_is_in_use_must_be_among_what_is_searched(wrong: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="must lie inside of what is searched"):
        tune(FOLDS, fit, SPACE, wrong, trials=2)


def test_a_fold_that_is_judged_on_days_of_its_fit_is_refused() -> None:
    overlapping = replace(FOLDS[0], judged_on=rows(6, 7, 2))
    with pytest.raises(ModelError, match="fold 1 is fitted on days up to 2018-06-07 and judged from 2018-06-07 on"):
        tune([FOLDS[1], overlapping], fit, SPACE, BEST, trials=2)
