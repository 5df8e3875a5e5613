"""A cross-fitted stack: what judges a member has not been seen by it, and what is served is one ONNX graph."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models import ensemble, linear, metrics, scaling, stacking
from convergence.models.ensemble import Rows

FEATURES = ("a", "b", "c")


def world(n: int = 600, seed: int = 0) -> Rows:
    """Labels that a line in `a` and `b` explains well; `c` is noise."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(n, 3)).astype(np.float32)
    odds = 2 * values[:, 0] - 1.5 * values[:, 1] - 1
    label = draw.random(n) < 1 / (1 + np.exp(-odds))
    return Rows(values, label, np.full(n, np.datetime64("2024-01-01")), np.ones(n))


def line(rows: Rows) -> linear.Linear:
    return linear.fit(rows.values, rows.label, rows.weight, scaling.fit(rows.values))


@dataclass(frozen=True)
class Remembering:
    """Knows the label of each row that it was fitted on, and nothing of others."""

    known: dict[bytes, bool]

    def margins(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.array([{None: 0.0, True: 9.0, False: -9.0}[self.known.get(v.tobytes())] for v in values])

    def add_to(self, graph: Any, values: str) -> str:
        raise NotImplementedError


def remember(rows: Rows) -> Remembering:
    return Remembering({v.tobytes(): bool(y) for v, y in zip(rows.values, rows.label, strict=True)})


@cache
def stacked() -> stacking.Stacked:
    return stacking.fit(world(), {"linear": line, "remembering": remember})


def test_no_row_is_judged_by_a_member_that_has_seen_its_label() -> None:
    rows = world()
    fold = stacking.stratified(rows.label, folds=4)
    assert set(stacking.out_of_fold(rows, remember, fold)) == {0.0}


def test_a_member_that_only_remembers_gets_no_say() -> None:
    # a shrug (0 for every row) has no effect on the margins whatever its weight: it changes no score
    rows = world()
    alone = stacking.fit(rows, {"linear": line})
    assert np.allclose(stacked().scores, alone.scores, atol=1e-6)


def test_scores_of_unseen_labels_are_calibrated_and_rank_as_well_as_on_new_rows() -> None:
    new = world(4000, seed=1)
    found = stacking.fit(world(2000), {"linear": line})
    fresh = metrics.roc_auc(new.label, found.served.score(new.values))
    assert metrics.roc_auc(world(2000).label, found.scores) == pytest.approx(fresh, abs=0.02)
    assert metrics.calibration_error(new.label, found.served.score(new.values)) < 0.03


def test_the_served_stack_is_one_graph_that_gives_the_same_scores() -> None:
    rows = world()
    found = stacking.fit(rows, {"linear": line, "first": lambda r: line(r.thinned(2, 0))})
    _, difference = ensemble.checked_onnx(found.served, FEATURES, rows.values)
    assert difference <= ensemble.PARITY


def test_equal_rows_give_equal_graphs() -> None:
    first, second = (stacking.fit(world(), {"linear": line}).served.to_onnx(FEATURES) for _ in range(2))
    assert first == second


def test_the_weights_of_a_fold_are_found_without_it() -> None:
    rows = world()
    fold = stacking.stratified(rows.label, folds=3)
    margins = stacking.out_of_fold(rows, line, fold)[:, None]
    flipped = rows.label.copy()
    flipped[fold == 0] = ~flipped[fold == 0]
    same, other = (stacking.cross_fitted(margins, y, fold) for y in (rows.label, flipped))
    assert np.array_equal(same[fold == 0], other[fold == 0])
    assert not np.allclose(same[fold != 0], other[fold != 0])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(6, 40), st.integers(6, 200), st.integers(0, 99))
def test_each_fold_has_as_many_positives_as_any_other(folds: int, positives: int, negatives: int, seed: int) -> None:
    label = np.arange(positives + negatives) < positives
    fold = stacking.stratified(label, folds=folds, seed=seed)
    for which in (label, ~label):
        counts = np.bincount(fold[which], minlength=folds)
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(fold, stacking.stratified(label, folds=folds, seed=seed))


@pytest.mark.parametrize("folds", [1, 4])
def test_too_few_rows_or_folds_are_refused(folds: int) -> None:
    with pytest.raises(ModelError, match="give more rows or fewer folds"):
        stacking.stratified(np.arange(50) < 3, folds=folds)


def test_less_freedom_makes_smaller_weights() -> None:
    rows = world()
    tight, free = (
        linear.fit(rows.values, rows.label, rows.weight, scaling.fit(rows.values), freedom=c) for c in (0.01, 1.0)
    )
    assert np.abs(tight.weights).sum() < np.abs(free.weights).sum()
