"""What each kind of task measures, against scikit-learn, and what it refuses."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from math import inf, nan
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, ndcg_score, root_mean_squared_error

from convergence.errors import ConvergenceError
from convergence.models import promotions, tasks
from convergence.models.metrics import OneClassError
from convergence.models.tasks import Task

DAY, CLASSES, DAYS = date(2024, 1, 1), ("a", "b", "c"), 4
BINARY, ANOMALY = tasks.binary("label", "key"), tasks.anomaly("label", "key")
CLASSED = replace(tasks.multiclass("label", "key", CLASSES), repetitions=20)
NUMBER = replace(tasks.regression("label", "key"), repetitions=20)
ORDER = replace(tasks.ranking("query", "key", label="label", k=3), repetitions=20)


def frame(label: list[Any], score: list[Any], **more: list[Any]) -> pl.DataFrame:
    """Rows over DAYS days in turn."""
    days = [DAY + timedelta(days=n % DAYS) for n in range(len(label))]
    return pl.DataFrame({"key": range(len(label)), "event_date": days, "label": label, "score": score, **more})


def softmax(margins: np.ndarray) -> list[list[float]]:
    raised = np.exp(margins)
    return (raised / raised.sum(axis=1, keepdims=True)).tolist()


def world(task: Task, seed: int, rows: int = 48) -> pl.DataFrame:
    """Labels of every kind, with scores that know something of them."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows)
    seen = truth + rng.normal(scale=0.5, size=rows)
    query = [str(n // DAYS % 4) for n in range(rows)]
    if task.kind == "multiclass":
        place = np.digitize(truth, [-0.5, 0.5])
        margins = -((seen[:, None] - np.array([-1, 0, 1])) ** 2)
        return frame([CLASSES[n] for n in place], softmax(margins))
    if task.kind == "regression":
        return frame(truth.tolist(), seen.tolist())
    if task.kind == "ranking":
        return frame(np.digitize(truth, [0, 1]).tolist(), seen.tolist(), query=query)
    return frame((truth > 0.5).tolist(), (1 / (1 + np.exp(-seen))).tolist())


EVERY = [BINARY, CLASSED, NUMBER, ORDER, ANOMALY]
every = pytest.mark.parametrize("task", EVERY, ids=lambda task: task.kind)
seeds = st.integers(0, 10_000)


def oracle(task: Task, rows: pl.DataFrame) -> float:
    """The measure by scikit-learn."""
    label, score = rows["label"].to_list(), rows["score"].to_list()
    if task.kind == "multiclass":
        said = [CLASSES[n] for n in np.argmax(score, axis=1)]
        return float(f1_score(label, said, average="macro", labels=list(CLASSES), zero_division=0))  # pyright: ignore
    if task.kind == "regression":
        return float(root_mean_squared_error(label, score))
    if task.kind == "ranking":
        groups = rows.partition_by("event_date", "query")
        each = [ndcg_score([g["label"].to_list()], [g["score"].to_list()], k=3) for g in groups if g["label"].max()]
        return float(np.mean(each))
    return float(average_precision_score(label, score))


@every
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_the_measure_is_that_of_scikit_learn(task: Task, seed: int) -> None:
    rows = world(task, seed)
    assert task.measure.of(task.rows(rows)) == pytest.approx(oracle(task, rows), abs=1e-12)


def perfect(task: Task, rows: pl.DataFrame) -> pl.DataFrame:
    if task.kind == "multiclass":
        return rows.with_columns(score=pl.concat_list(pl.when(label=name).then(1.0).otherwise(0.0) for name in CLASSES))
    return rows.with_columns(score=pl.col("label").cast(pl.Float64))


@every
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_nothing_is_better_than_the_labels_themselves(task: Task, seed: int) -> None:
    rows = world(task, seed)
    best, found = (task.measure.of(task.rows(each)) for each in (perfect(task, rows), rows))
    assert best == pytest.approx(1.0 if task.measure.share else 0.0)
    assert best <= 1.0
    assert task.measure.gain(best, found) >= 0
    assert task.measure.gain(best, task.baseline(task.rows(rows))) > 0


@every
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_a_share_lies_between_0_and_1_and_its_interval_around_it(task: Task, seed: int) -> None:
    found = replace(task, repetitions=20).judge(world(task, seed))
    assert found.low <= found.high
    assert found.standard_error >= 0
    if task.measure.share:
        assert 0 <= found.low <= found.high <= 1


@every
@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_the_order_of_rows_changes_nothing(task: Task, seed: int) -> None:
    rows = world(task, seed)
    other = rows.sample(fraction=1, shuffle=True, seed=seed)
    assert task.measure.of(task.rows(rows)) == pytest.approx(task.measure.of(task.rows(other)), abs=1e-12)
    assert task.baseline(task.rows(rows)) == pytest.approx(task.baseline(task.rows(other)), abs=1e-12)


def trivial(task: Task, rows: pl.DataFrame) -> pl.DataFrame:
    """Scores of a model that looks at nothing."""
    if task.kind == "multiclass":
        commonest = rows["label"].mode().sort()[0]
        return rows.with_columns(score=pl.lit([float(name == commonest) for name in CLASSES]))
    return rows.with_columns(score=rows["label"].cast(pl.Float64).mean())


@every
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_baseline_is_the_measure_of_a_model_that_looks_at_nothing(task: Task, seed: int) -> None:
    rows = task.rows(world(task, seed))
    assert task.baseline(rows) == pytest.approx(task.measure.of(trivial(task, rows)), abs=1e-9)


@every
def test_a_champion_that_says_the_same_is_not_beaten_nor_worse(task: Task) -> None:
    rows = world(task, 1)
    verdict = promotions.gate(
        promotions.Scores("new", rows), promotions.Scores("old", rows), task=replace(task, repetitions=20)
    )
    (rule,) = verdict.rules.filter(rule="not_worse_than_champion").iter_rows(named=True)
    assert (rule["value"], rule["passed"]) == (0, True)


@every
def test_of_two_models_the_better_one_wins_whichever_way_its_measure_goes(task: Task) -> None:
    task, rows = replace(task, repetitions=20), world(task, 2)
    best = promotions.Scores("best", perfect(task, rows))
    blind = promotions.Scores("blind", trivial(task, rows))

    def rule(ours: promotions.Scores, theirs: promotions.Scores) -> tuple[bool, bool]:
        (found,) = promotions.gate(ours, theirs, task=task).rules.filter(rule="not_worse_than_champion").iter_rows()
        return found[1] > 0, found[3]

    assert rule(best, blind) == (True, True)
    assert rule(blind, best) == (False, False)


@every
@pytest.mark.parametrize("value", [None, nan, inf, -inf])
def test_a_score_that_is_no_number_cannot_be_meant(task: Task, value: float | None) -> None:
    rows = world(task, 3)
    wrong = pl.lit([value, 0.5, 0.5], pl.List(pl.Float64)) if task.classes else pl.lit(value, pl.Float64)
    assert task.insane(rows) == 0
    assert task.insane(rows.with_columns(score=pl.when(pl.col("key") < 2).then(wrong).otherwise("score"))) == 2


@pytest.mark.parametrize(
    "score",
    [None, [], [0.5, 0.5], [0.25] * 4, [0.5, 0.5, 0.5], [1.5, -0.5, 0.0], [0.0, 0.0, 0.0], [0.5, None, 0.5]],
    ids=str,
)
def test_a_list_that_is_no_distribution_over_the_classes_cannot_be_meant(score: list[float] | None) -> None:
    rows = pl.DataFrame({"score": [score, [0.2, 0.3, 0.5]]}, schema={"score": pl.List(pl.Float64)})
    assert CLASSED.insane(rows) == 1


@given(st.floats(allow_nan=True, allow_infinity=True))
@settings(max_examples=60)
def test_what_can_be_meant_follows_from_the_kind(score: float) -> None:
    rows = pl.DataFrame({"score": [score]})
    finite = bool(np.isfinite(score))
    assert [task.insane(rows) for task in (NUMBER, ORDER, ANOMALY)] == [not finite] * 3
    assert BINARY.insane(rows) == (not (finite and 0 <= score <= 1))


@pytest.mark.parametrize("task", [BINARY, CLASSED, ORDER, ANOMALY], ids=lambda task: task.kind)
def test_labels_of_one_class_only_cannot_be_judged(task: Task) -> None:
    rows = world(task, 4)
    same = {"multiclass": pl.lit("a"), "ranking": pl.lit(0)}.get(task.kind, pl.lit(value=False))
    with pytest.raises(OneClassError):
        task.measure.of(task.rows(rows.with_columns(label=same)))


@every
def test_a_row_without_a_label_is_not_judged_silently(task: Task) -> None:
    rows = world(task, 5)
    without = rows.with_columns(label=pl.when(pl.col("key") > 2).then("label"))
    with pytest.raises(ConvergenceError, match="3 rows have no label"):
        task.rows(without)


def test_a_class_that_was_not_declared_is_told() -> None:
    rows = world(CLASSED, 6).with_columns(label=pl.when(key=0).then(pl.lit("d")).otherwise("label"))
    with pytest.raises(ConvergenceError, match=r"1 of 48 rows have another label than \['a', 'b', 'c'\]"):
        CLASSED.rows(rows)


def test_relevance_below_0_is_told() -> None:
    rows = world(ORDER, 7).with_columns(label=pl.when(key=0).then(-1).otherwise("label"))
    with pytest.raises(ConvergenceError, match="1 of 48 rows have label below 0"):
        ORDER.rows(rows)


def test_a_ranking_without_any_order_is_worth_what_chance_gives() -> None:
    rng, rows = np.random.default_rng(8), ORDER.rows(world(ORDER, 8))
    drawn = [ORDER.measure.of(rows.with_columns(score=pl.Series(rng.normal(size=rows.height)))) for _ in range(150)]
    assert ORDER.baseline(rows) == pytest.approx(np.mean(drawn), abs=0.03)


def test_a_day_that_is_drawn_twice_leaves_its_groups_as_they_are() -> None:
    """Each day the same four rows: whatever days are drawn, the measure is the same."""
    one = [3, 2, 1, 0], [1.0, 3.0, 2.0, 4.0]
    label, score = ([value for value in column for _ in range(DAYS)] for column in one)
    rows = frame(label, score, query=["q"] * 16)
    found = ORDER.judge(rows)
    assert found.low == pytest.approx(found.high)
    assert found.estimate == pytest.approx(ndcg_score([one[0]], [one[1]], k=3))


def shrunk(task: Task, rows: pl.DataFrame, bias: float) -> pl.DataFrame:
    if task.kind == "multiclass":
        return rows.with_columns(score=pl.lit([1.0, 0.0, 0.0]))
    return rows.with_columns(score=pl.col("score") + bias)


@pytest.mark.parametrize(("task", "bias"), [(CLASSED, 0.0), (NUMBER, 3.0)], ids=["multiclass", "regression"])
def test_scores_that_do_not_mean_what_they_say_break_calibration(task: Task, bias: float) -> None:
    rows = world(task, 9, rows=400)
    passed: Callable[[pl.DataFrame], bool] = lambda part: (  # noqa: E731
        promotions.gate(promotions.Scores("m", part), None, task=task).rules.filter(rule="calibration")["passed"].item()
    )
    assert passed(perfect(task, rows))
    assert not passed(shrunk(task, rows, bias))


@settings(max_examples=20, deadline=None)
@given(seed=seeds, bias=st.floats(-5, 5))
def test_the_calibration_error_of_a_number_is_its_bias_in_its_unit(seed: int, bias: float) -> None:
    rows = NUMBER.rows(perfect(NUMBER, world(NUMBER, seed)))
    assert NUMBER.calibration
    assert NUMBER.calibration.error(shrunk(NUMBER, rows, bias)) == pytest.approx(abs(bias))


@settings(max_examples=15, deadline=None)
@given(seed=seeds, factor=st.floats(0.01, 1000))
def test_whether_a_number_beats_its_baseline_does_not_depend_on_its_unit(seed: int, factor: float) -> None:
    rows = NUMBER.rows(world(NUMBER, seed))
    other = rows.with_columns(pl.col("label", "score") * factor)
    ratios = [NUMBER.measure.of(each) / NUMBER.baseline(each) for each in (rows, other)]
    assert ratios[0] == pytest.approx(ratios[1])


def test_a_champion_whose_scores_cannot_be_meant_is_told() -> None:
    rows = world(NUMBER, 10)
    broken = rows.with_columns(score=pl.when(key=0).then(nan).otherwise("score"))
    with pytest.raises(ConvergenceError, match="1 of 48 scores of champion old are not finite"):
        promotions.gate(promotions.Scores("new", rows), promotions.Scores("old", broken), task=NUMBER)


def test_tied_classes_go_to_the_first_declared() -> None:
    rows = frame(["a", "b"] * 4, [[0.4, 0.4, 0.2]] * 8)
    assert CLASSED.measure.of(CLASSED.rows(rows)) == pytest.approx(oracle(CLASSED, rows))
