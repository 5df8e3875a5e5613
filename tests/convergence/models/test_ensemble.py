"""The fit window decides alone: what is served, how it is calibrated, and that its ONNX graph is the same model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models import calibration, metrics, stored
from convergence.models.ensemble import STACK, Ensemble, Fitted, Member, Rows, checked_onnx, fit, member_margins
from convergence.models.onnx_graph import Graph

NAMES = ["a", "b", "noise"]
DAYS = 42


@dataclass(frozen=True)
class Column:
    """A member that knows one feature; `wrong` is added to its ONNX graph alone."""

    number: int
    factor: float = 1.0
    wrong: float = 0.0

    def margins(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        return self.factor * values[:, self.number].astype(np.float64) - 2

    def add_to(self, graph: Graph, values: str) -> str:
        column = graph.add("Gather", values, graph.constant(np.array([self.number])), axis=1)
        scaled = graph.add("Mul", column, graph.constant(np.float32(self.factor)))
        return graph.add("Add", scaled, graph.constant(np.float32(self.wrong - 2)))


def world(*, both: bool, count: int = 12_600, seed: int = 0) -> Rows:
    """Six weeks whose label depends on the first feature, or on the first two."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, 3)).astype(np.float32)
    odds = 2.0 * values[:, 0] + (2.0 * values[:, 1] if both else 0) - 3
    day = np.datetime64("2018-06-01") + np.arange(count) * DAYS // count
    return Rows(values, random.random(count) < calibration.probability(odds), day, np.ones(count))


def fits(seen: list[Rows] | None = None, **columns: int) -> dict[str, Callable[[Rows], Member]]:
    def remember(rows: Rows, number: int) -> Member:
        if seen is not None:
            seen.append(rows)
        return Column(number)

    return {name: lambda rows, number=number: remember(rows, number) for name, number in columns.items()}


def fitted(rows: Rows, seen: list[Rows] | None = None, **more: Any) -> Fitted:
    return fit(rows, fits(seen, first=0, second=1, third=2), NAMES, repetitions=40, **more)


@cache
def usual(*, both: bool) -> Fitted:
    return fitted(world(both=both))


def test_a_stack_that_beats_its_best_member_is_served() -> None:
    found = usual(both=True)
    assert found.chosen == STACK
    assert set(found.served.members) == {"first", "second", "third"}
    assert "the stack is served" in found.reason
    assert found.served.weights[0] == pytest.approx(found.served.weights[1], rel=0.15)


def test_a_stack_that_brings_nothing_is_dropped_for_its_best_member() -> None:
    found = usual(both=False)
    assert found.chosen == "first"
    assert (list(found.served.members), found.served.weights.tolist()) == (["first"], [1.0])
    assert "the stack is dropped, first is served alone" in found.reason


def test_a_gain_too_small_to_pay_for_is_no_reason_for_a_stack() -> None:
    assert fitted(world(both=True), least_gain=0.9).chosen != STACK


def test_members_see_only_the_older_part() -> None:
    seen: list[Rows] = []
    rows = world(both=True)
    fitted(rows, seen, newer_days=14)
    assert len(seen) == 3
    assert {part.day.max() for part in seen} == {rows.day.max() - np.timedelta64(14, "D")}


def test_the_stacks_gain_is_measured_on_days_that_its_weights_have_not_seen() -> None:
    rows = world(both=True)
    expected = rows.where(rows.newest(7))
    found = usual(both=True)
    by_name = {c["candidate"]: c["average_precision"] for c in found.comparison}
    assert by_name["first"] == pytest.approx(
        metrics.average_precision(expected.label, Column(0).margins(expected.values))
    )
    assert set(by_name) == {"first", "second", "third", STACK}
    assert all(c["low"] <= c["average_precision"] <= c["high"] for c in found.comparison)


def test_labels_of_the_newest_week_do_not_move_the_compared_stack() -> None:
    """The comparison's stack is fitted before them: inverting them makes every rival worse, the stack among them."""
    rows = world(both=True)
    inverted = replace(rows, label=np.where(rows.newest(7), ~rows.label, rows.label))
    assert fitted(inverted).chosen != STACK


def test_the_served_probability_is_calibrated_and_keeps_the_ranking() -> None:
    found, new = usual(both=True), world(both=True, seed=1)
    score = found.served.score(new.values)
    assert score.mean() == pytest.approx(new.label.mean(), abs=0.01)
    assert metrics.calibration_error(new.label, score) < 0.02
    stacked = member_margins(found.served.members, new.values) @ found.served.weights
    assert metrics.roc_auc(new.label, score) == pytest.approx(metrics.roc_auc(new.label, stacked), abs=1e-9)
    assert list(found.log_losses.values()) == sorted(found.log_losses.values())
    assert found.served.calibration.kind == next(iter(found.log_losses))


def test_the_threshold_lets_the_stated_share_of_negatives_pass() -> None:
    found, new = fitted(world(both=True), false_positive_rate=0.02), world(both=True, seed=1)
    point = metrics.at_threshold(new.label, found.served.score(new.values), found.threshold)
    assert point.false_positive_rate == pytest.approx(0.02, abs=0.006)
    assert point.recall > 0.1


@pytest.mark.parametrize("both", [True, False], ids=["stack", "member"])
def test_the_onnx_graph_is_the_trained_model_on_1000_rows(both: bool) -> None:
    served = usual(both=both).served
    values = world(both=both, seed=2).values[:1_000]
    blob, difference = checked_onnx(served, NAMES, values)
    scores = stored.load(blob, sha256=stored.digest(blob), features=NAMES).score(values)
    assert np.abs(scores - served.score(values)).max() == difference <= 1e-5


@pytest.mark.parametrize("wrong", [1e-3, float("nan")], ids=["off", "nan"])
def test_a_graph_that_is_not_the_trained_model_is_refused(wrong: float) -> None:
    served = usual(both=True).served
    broken = Ensemble({**served.members, "second": Column(1, wrong=wrong)}, served.weights, served.calibration)
    with pytest.raises(ModelError, match="differs from the trained model by"):
        checked_onnx(broken, NAMES, world(both=True, seed=2).values[:1_000])


def test_the_candidates_graph_gives_each_member_and_the_stack() -> None:
    found, values = usual(both=True), world(both=True, seed=1).values
    names = ["first", "second", "third", STACK]
    graph = stored.load(found.candidates, sha256=stored.digest(found.candidates), outputs=names)
    outputs = graph.outputs(values, names)
    margins = member_margins(found.members, values)
    np.testing.assert_allclose(np.column_stack([outputs[n] for n in names[:3]]), margins, atol=1e-5)
    np.testing.assert_allclose(outputs[STACK], margins @ found.served.weights, atol=1e-5)
    with pytest.raises(ModelError, match="outputs \\['probability'\\]"):
        stored.load(found.candidates, sha256=stored.digest(found.candidates))


def test_equal_rows_give_equal_bytes() -> None:
    one, other = usual(both=True), fitted(world(both=True))
    assert (one.served.to_onnx(NAMES), one.candidates) == (other.served.to_onnx(NAMES), other.candidates)
    assert (one.threshold, one.reason) == (other.threshold, other.reason)


@pytest.mark.parametrize("days", [(0, 42), (28, 35), (35, 42)], ids=["all", "newer", "newest"])
def test_a_part_without_both_classes_is_an_error_that_names_it(days: tuple[int, int]) -> None:
    rows = world(both=True)
    first = rows.day.min()
    quiet = (rows.day >= first + np.timedelta64(days[0], "D")) & (rows.day < first + np.timedelta64(days[1], "D"))
    with pytest.raises(ModelError, match=r"part of the fit window has \d+ rows and 0 positives"):
        fitted(replace(rows, label=rows.label & ~quiet))


def test_a_window_shorter_than_its_newer_part_is_an_error() -> None:
    with pytest.raises(ModelError, match="the older part of the fit window has 0 rows"):
        fitted(world(both=True), newer_days=60)
