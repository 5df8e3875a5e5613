"""Which model is champion on which day, and the gate that a challenger passes to become one.

A day's champion follows from two append-only records: the gate's decisions, one a week, and the release log, where
people promote and roll back. Neither rewrites the other, so the champion of any past day can be told again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import isnan
from typing import Any, NamedTuple

import polars as pl

from convergence.errors import ConvergenceError, ModelError
from convergence.models.tasks import Task

RULES_SCHEMA = pl.Schema({"rule": pl.String(), "value": pl.Float64(), "limit": pl.Float64(), "passed": pl.Boolean()})


@dataclass(frozen=True)
class Scores:
    """A model's scores of labelled rows: the task's key, `event_date`, its label and `score`."""

    model_version: str
    rows: pl.DataFrame


@dataclass(frozen=True)
class Served:
    """What the caller measured of a challenger in the form in which it would be served; None: not measured, no rule.

    A verdict that is stored as data needs figures that come out the same again: a latency does not.
    """

    size: int | None = None  # bytes
    parity: float | None = None  # largest difference between the scores of the graph and of the library that was fitted
    seconds_per_row: float | None = None  # 99th percentile of scoring one row
    leaks: int | None = None  # features that the leakage check found to know their future


@dataclass(frozen=True)
class Verdict:
    """A gate's decision: `rules` has one row per rule (rule, value, limit, passed), `reason` says it in words."""

    passed: bool
    reason: str
    rules: pl.DataFrame


def champion_as_of(
    decisions: pl.DataFrame,
    released: pl.DataFrame,
    day: date,
    *,
    columns: Sequence[str] = ("model_version", "model_as_of", "sha256", "onnx"),
    within: timedelta | None = None,
) -> dict[str, Any]:
    """The champion that scores `day`, as these columns of its decision or release.

    A decision of the gate counts from the as-of date of the model that it lets serve: one that only keeps the champion
    brings no model back that was rolled back meanwhile. A release counts from later than the decisions before it, until
    the gate lets a newer model serve. Of those valid on the day, the one that counts from latest wins; releases before
    decisions, and of two releases the later one. No model scores a day before its as-of date: it may have learned from
    that day's own labels.

    Args:
        decisions: of the gate: `valid_from`, `model_as_of` and the columns asked for.
        released: promotions and rollbacks in the order of the log, as `release_log.released` gives them.
        day: event date to be scored.
        columns: what to tell of the champion.
        within: how old the newest decision may be; None: any age.

    Raises:
        ModelError: no champion is valid on `day`, or none was decided within that time.
    """
    decided = decisions.sort("valid_from").with_columns(counts_from="model_as_of")
    there = pl.concat([decided, released], how="diagonal")
    valid = there.filter(pl.col("valid_from") <= day, pl.col("model_as_of") <= day)
    oldest = day - within if within else date.min
    if valid.is_empty() or (within and decided.filter(pl.col("valid_from").is_between(oldest, day)).is_empty()):
        found = f"those there are are valid from {decided['valid_from'].min()}" if decided.height else "there is none"
        raise ModelError(
            f"no champion on {day}: expected a decision valid from {f'{oldest} to ' if within else ''}{day}"
            f"{'' if within else ' or earlier'}, {found}; materialize the promotions of that week first"
        )
    return valid.filter(pl.col("counts_from") == pl.col("counts_from").max()).select(columns).row(-1, named=True)


def champions(
    decisions: pl.DataFrame, released: pl.DataFrame, days: Iterable[date], *, columns: Sequence[str], within: timedelta
) -> pl.DataFrame:
    """`champion_as_of` for each of some days, at least one: a row per day, `event_date` and the columns."""
    rows = [
        {"event_date": day, **champion_as_of(decisions, released, day, columns=columns, within=within)} for day in days
    ]
    known = {**released.schema, **decisions.schema}
    return pl.DataFrame(rows, schema={"event_date": pl.Date(), **{c: known[c] for c in columns}})


def gate(
    challenger: Scores, champion: Scores | None, *, task: Task, served: Served | None = None, seed: int = 0
) -> Verdict:
    """Decide whether a challenger may become champion, on the newest labelled rows that its fit has not seen.

    Rules: every score can be meant; the task's measure is better than the trivial baseline by what its limits ask; it
    is not worse than the champion's on the same rows by more than one standard error of the difference, days
    resampled; scores are calibrated, where the task has a word for it; and of `served`: latency, size, leakage,
    equality of graph and library. A rule that cannot be computed because the scores are invalid has null value and
    limit and is not passed, nor is one whose value is NaN.

    Args:
        challenger: scores of labelled rows; of a classification with more than one class among them.
        champion: scores of exactly the same rows, in any order, or None when there is no champion yet.
        task: what is predicted, and what is allowed.
        served: measurements of the challenger as it would be served; without them their rules are not in the table.
        seed: seed of the bootstrap; equal inputs give an equal verdict.

    Raises:
        ConvergenceError: the two sides hold different rows or labels, the champion's scores are not finite, the labels
            hold one class only, or there are too few days to resample.
    """
    rows = task.rows(challenger.rows if champion is None else _same_rows(challenger, champion, task))
    rules = list(_of_scores(rows, task, against=champion is not None, seed=seed))
    if served:
        measured = (
            ("latency", served.seconds_per_row, task.limits.seconds_per_row),
            ("size", served.size, task.limits.size),
            ("leakage", served.leaks, 0),
            ("onnx_parity", served.parity, task.limits.parity),
        )
        rules += [
            Rule(name, None if isnan(value) else value, limit, value <= limit)
            for name, value, limit in measured
            if value is not None
        ]
    table = pl.DataFrame(rules, schema=RULES_SCHEMA, orient="row")
    return Verdict(bool(table["passed"].all()), _in_words(challenger, champion, table, task), table)


class Rule(NamedTuple):
    """One row of a verdict's table; without a value the rule could not be computed."""

    rule: str
    value: float | None
    limit: float | None
    passed: bool


def _of_scores(rows: pl.DataFrame, task: Task, *, against: bool, seed: int) -> Iterator[Rule]:
    calibrated, most = task.calibration, task.limits.calibration_error
    invalid = task.insane(rows)
    yield Rule("invalid_scores", invalid, 0, invalid == 0)
    if invalid:
        names = ["beats_trivial_baseline"] + ["not_worse_than_champion"] * against
        names += ["calibration"] * (calibrated is not None and most is not None)
        yield from (Rule(name, None, None, False) for name in names)
        return
    measure = task.measure
    found, least = measure.of(rows), task.limits.of_baseline * task.baseline(rows)
    yield Rule("beats_trivial_baseline", found, least, measure.gain(found, least) >= 0)
    if against:
        difference = measure.lead(rows, repetitions=task.repetitions, seed=seed)
        least = -difference.standard_error
        yield Rule("not_worse_than_champion", difference.estimate, least, difference.estimate >= least)
    if calibrated and most is not None:
        error, limit = calibrated.error(rows), most * calibrated.unit(rows) + calibrated.by_chance(rows)
        yield Rule("calibration", error, limit, error <= limit)


def _same_rows(challenger: Scores, champion: Scores, task: Task) -> pl.DataFrame:
    """The challenger's rows by key, with the champion's score beside its own."""
    key, label = task.key, task.label
    ours, theirs = challenger.rows.sort(key), champion.rows.sort(key)
    repeated = ours.height - ours[key].n_unique()
    if repeated or not ours[key].equals(theirs[key]):
        shared = ours.join(theirs, on=key, how="semi").height
        msg = (
            f"challenger {challenger.model_version} and champion {champion.model_version} must score the same rows "
            f"once each; found {ours.height} and {theirs.height} rows, {shared} shared, {repeated} repeated {key}; "
            "score both on the gate's rows"
        )
        raise ConvergenceError(msg)
    different = ours.filter(pl.col(label).ne_missing(theirs[label])).height
    if different:
        msg = f"{different} of {ours.height} labels differ between the two sides; read both from one label version"
        raise ConvergenceError(msg)
    if task.kind != "binary" and (invalid := task.insane(theirs)):  # the measure of a binary task says so itself
        msg = (
            f"{invalid} of {theirs.height} scores of champion {champion.model_version} are not {task.domain}; roll "
            "back to a model that scores every row, then decide again"
        )
        raise ConvergenceError(msg)
    return ours.with_columns(champion_score=theirs["score"])


def _in_words(challenger: Scores, champion: Scores | None, rules: pl.DataFrame, task: Task) -> str:
    measure = task.measure
    bound, better = ("least", "differs") if measure.higher_is_better else ("most", "improves")
    against = f"against champion {champion.model_version}" if champion else "with no champion yet"
    stated = {
        "invalid_scores": f"{{value:.0f}} scores are not {task.domain}, {{limit:.0f}} allowed",
        "beats_trivial_baseline": f"{measure.words} {{value:.4f}}, at {bound} {{limit:.4f}} required",
        "not_worse_than_champion": f"{measure.words} {better} by {{value:+.4f}}, {{limit:+.4f}} allowed "
        "(1 standard error)",
        "calibration": "calibration error {value:.5f}, at most {limit:.5f} allowed",
        "latency": "99 % of rows are scored within {value:.5f} s, {limit:.5f} s allowed",
        "size": "{value:,.0f} bytes, {limit:,.0f} allowed",
        "leakage": "{value:.0f} features know their future, {limit:.0f} allowed",
        "onnx_parity": "graph and library differ by {value:.1e}, {limit:.0e} allowed",
    }
    said = [
        f"{row['rule']} {'passed' if row['passed'] else 'FAILED'}: "
        + (stated[row["rule"]].format(**row) if row["value"] is not None else "not computed, the values are invalid")
        for row in rules.iter_rows(named=True)
    ]
    verdict = "passes" if rules["passed"].all() else "is refused"
    return f"{challenger.model_version} {verdict} {against}. " + "; ".join(said) + "."
