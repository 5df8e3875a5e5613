"""What a model is asked for, as one value: gate, evaluation, monitoring and card are derived from it alone.

Rows that are judged have the task's key, `event_date`, its label and `score`. What a score is follows from the kind: a
probability (binary), a list of one per class (multiclass), a number in the label's unit (regression), any number by
which rows of a group of a day are ordered (ranking), any number that is higher the stranger a row is (anomaly).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ConvergenceError
from convergence.models import metrics
from convergence.models.calibration import equal_mass_calibration_error

Kind = Literal["binary", "multiclass", "regression", "ranking", "anomaly"]
# of rows with the columns `event_date`, `label` and `score`, for a ranking also `group`
Of = Callable[[pl.DataFrame], float]


@dataclass(frozen=True)
class Measure:
    """How good scores are: `of` rows; `name` is that of columns, `words` that of sentences.

    `parts`: for a mean over groups, the `value` of each with its `event_date`: they are drawn in place of rows, because
    a day that is drawn twice would melt into groups of twice their size.
    """

    name: str
    words: str
    of: Of
    higher_is_better: bool = True
    share: bool = True  # whether it lies in [0, 1]
    parts: Callable[[pl.DataFrame], pl.DataFrame] | None = None

    def gain(self, found: float, than: float) -> float:
        """By how much `found` is better `than` another; negative: worse."""
        return found - than if self.higher_is_better else than - found

    def interval(self, rows: pl.DataFrame, *, repetitions: int = 200, seed: int = 0) -> metrics.Interval:
        """Of rows, days resampled. Errors as `metrics.bootstrap_interval`."""
        drawn, of = (self.parts(rows), _mean) if self.parts else (rows, self.of)
        return metrics.bootstrap_interval(drawn, of, repetitions=repetitions, seed=seed)

    def lead(self, rows: pl.DataFrame, *, repetitions: int = 200, seed: int = 0) -> metrics.Interval:
        """By how much `score` is better than `champion_score`, days resampled; errors as `interval`."""
        theirs = pl.col("champion_score").alias("score")
        if self.parts is None:
            return metrics.bootstrap_interval(
                rows,
                lambda part: self.gain(self.of(part), self.of(part.with_columns(theirs))),
                repetitions=repetitions,
                seed=seed,
            )
        ours, champion = self.parts(rows), self.parts(rows.with_columns(theirs))
        gains = ours.with_columns(value=(ours["value"] - champion["value"]) * (1 if self.higher_is_better else -1))
        return metrics.bootstrap_interval(gains, _mean, repetitions=repetitions, seed=seed)


@dataclass(frozen=True)
class Limits:
    """What a gate allows.

    `of_baseline`: what the measure must reach, as a multiple of the trivial baseline's; below 1 for an error.
    """

    of_baseline: float = 5.0
    calibration_error: float | None = (
        0.5  # as the task's `calibration` says, beyond what chance explains; None: no rule
    )
    seconds_per_row: float = 0.002
    size: int = 50_000_000  # bytes
    parity: float = 1e-5  # largest difference between the scores of graph and library, in their unit


@dataclass(frozen=True)
class Calibration:
    """Whether scores mean what they say: an `error` of rows, and the unit that its limit is a multiple of."""

    error: Of
    unit: Of
    by_chance: Of  # what a perfectly calibrated model may show on so many rows


@dataclass(frozen=True)
class Task:
    """What is predicted, how that is judged, and what may serve.

    `sane` are the scores that can be meant at all, as an expression of `score`; `domain` says it in words.
    """

    kind: Kind
    key: str  # column that identifies a row
    label: str
    measure: Measure
    baseline: Of  # the measure of the trivial model
    sane: pl.Expr
    domain: str
    limits: Limits
    calibration: Calibration | None = None
    classes: tuple[str, ...] = ()
    group: str | None = None  # column of what is ranked together
    repetitions: int = 200  # draws of a bootstrap

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with `label`, and for a ranking `group`, beside `score`.

        Raises ConvergenceError for a row without label, with one that is none of the classes, or below 0 in a ranking.
        """
        label = frame[self.label]
        if label.null_count():
            raise ConvergenceError(f"{label.null_count()} rows have no {self.label}; judge known ones only")
        if self.classes and (other := label.len() - label.cast(pl.String).is_in(self.classes).sum()):
            raise ConvergenceError(
                f"{other} of {label.len()} rows have another {self.label} than {list(self.classes)}; declare each"
            )
        if self.group and (below := (label.cast(pl.Float64) < 0).sum()):
            raise ConvergenceError(f"{below} of {label.len()} rows have {self.label} below 0, which no relevance is")
        named = {"label": self.label} | ({"group": self.group} if self.group else {})
        return frame.with_columns(**{new: pl.col(name) for new, name in named.items()})

    def judge(self, frame: pl.DataFrame, *, seed: int = 0) -> metrics.Interval:
        """The measure of scored rows with its interval, days resampled. Errors as `metrics.bootstrap_interval`."""
        return self.measure.interval(self.rows(frame), repetitions=self.repetitions, seed=seed)

    def insane(self, frame: pl.DataFrame) -> int:
        """How many scores cannot be meant: null, not finite, or outside of the domain."""
        return frame.height - frame.filter(self.sane.fill_null(value=False)).height


_FINITE = pl.col("score").is_finite()
AVERAGE_PRECISION = Measure(
    "average_precision", "average precision", lambda rows: metrics.average_precision(rows["label"], rows["score"])
)
ROC_AUC = Measure("roc_auc", "ROC AUC", lambda rows: metrics.roc_auc(rows["label"], rows["score"]))


def binary(label: str, key: str, *, limits: Limits | None = None, repetitions: int = 200) -> Task:
    """Whether something holds; judged by average precision, whose trivial baseline is the share of positives."""
    share: Of = lambda rows: metrics.base_rate_average_precision(rows["label"])  # noqa: E731
    return Task(
        kind="binary",
        key=key,
        label=label,
        measure=AVERAGE_PRECISION,
        baseline=share,
        sane=_FINITE & pl.col("score").is_between(0, 1),
        domain="in [0, 1]",
        limits=limits or Limits(),
        calibration=Calibration(
            error=lambda rows: equal_mass_calibration_error(rows["label"], rows["score"]),
            unit=share,
            by_chance=lambda rows: 2 * sqrt(share(rows) / rows.height),  # two standard errors of the share itself
        ),
        repetitions=repetitions,
    )


def multiclass(label: str, key: str, classes: Sequence[str], *, limits: Limits | None = None) -> Task:
    """Which of some classes; judged by macro F1 of the likeliest class, against always saying the commonest one."""
    names = tuple(classes)
    score = pl.col("score")

    def likeliest(rows: pl.DataFrame) -> pl.Series:
        return pl.Series([names[i] for i in rows["score"].list.arg_max()], dtype=pl.String)

    def commonest(rows: pl.DataFrame) -> float:
        first = rows["label"].mode().sort()[0]
        return _macro_f1(rows["label"], pl.repeat(first, rows.height, eager=True), names)

    def confidence_error(rows: pl.DataFrame) -> float:
        right = (likeliest(rows) == rows["label"].cast(pl.String)).cast(pl.Float64)
        return equal_mass_calibration_error(right, rows["score"].list.max())

    return Task(
        kind="multiclass",
        key=key,
        label=label,
        measure=Measure("macro_f1", "macro F1", lambda rows: _macro_f1(rows["label"], likeliest(rows), names)),
        baseline=commonest,
        sane=(score.list.len() == len(names))
        & score.list.eval((pl.element().is_finite() & pl.element().is_between(0, 1)).fill_null(value=False)).list.all()
        & ((score.list.sum() - 1).abs() < 1e-4),
        domain=f"{len(names)} probabilities that sum to 1",
        limits=limits or Limits(of_baseline=1.2, calibration_error=0.1),
        calibration=Calibration(
            error=confidence_error, unit=lambda _: 1.0, by_chance=lambda rows: 1 / sqrt(rows.height)
        ),
        classes=names,
    )


def regression(target: str, key: str, *, limits: Limits | None = None) -> Task:
    """A number; judged by root mean squared error, against always saying the mean."""

    def rmse(rows: pl.DataFrame) -> float:
        return float(np.sqrt(np.mean(_missed(rows) ** 2)))

    def spread(rows: pl.DataFrame) -> float:
        return float(rows["label"].cast(pl.Float64).to_numpy().std())

    def bias(rows: pl.DataFrame) -> float:
        return abs(float(_missed(rows).mean()))

    return Task(
        kind="regression",
        key=key,
        label=target,
        measure=Measure("rmse", "root mean squared error", rmse, higher_is_better=False, share=False),
        baseline=spread,  # that of the mean
        sane=_FINITE,
        domain="finite",
        limits=limits or Limits(of_baseline=0.95, calibration_error=0.1),
        calibration=Calibration(error=bias, unit=spread, by_chance=lambda rows: 2 * rmse(rows) / sqrt(rows.height)),
    )


def ranking(group: str, key: str, *, label: str, k: int = 10, limits: Limits | None = None) -> Task:
    """An order within the groups of a day; judged by nDCG@k, against no order at all (its expectation over all)."""

    def found(rows: pl.DataFrame) -> float:
        return _mean(_ndcg(rows, k))

    return Task(
        kind="ranking",
        key=key,
        label=label,
        measure=Measure(f"ndcg_{k}", f"nDCG@{k}", found, parts=lambda rows: _ndcg(rows, k)),
        baseline=lambda rows: found(rows.with_columns(score=0.0)),
        sane=_FINITE,
        domain="finite",
        limits=limits or Limits(of_baseline=1.1, calibration_error=None),
        group=group,
    )


def anomaly(label: str, key: str, *, limits: Limits | None = None) -> Task:
    """How strange a row is, learned without labels; judged by average precision where labels are known."""
    found = binary(label, key, limits=limits or Limits(of_baseline=2.0, calibration_error=None))
    return replace(found, kind="anomaly", sane=_FINITE, domain="finite", calibration=None)


def _mean(parts: pl.DataFrame) -> float:
    return float(parts["value"].to_numpy().mean())


def _missed(rows: pl.DataFrame) -> NDArray[np.float64]:
    return (rows["label"].cast(pl.Float64) - rows["score"]).to_numpy()


def _macro_f1(label: pl.Series, predicted: pl.Series, classes: Sequence[str]) -> float:
    """Mean over `classes` of the F1 of each, in [0, 1], by scikit-learn; a class that nobody has or says counts as 0.

    Raises OneClassError where the labels hold one class only.
    """
    from sklearn.metrics import f1_score

    told, said = label.cast(pl.String).to_list(), predicted.cast(pl.String).to_list()
    if len(set(told)) < 2:
        raise metrics.OneClassError(
            f"all {len(told)} labels are {told[:1]}; expected at least two classes; measure more days"
        )
    return float(f1_score(told, said, labels=list(classes), average="macro", zero_division=0))  # pyright: ignore[reportArgumentType]


def _ndcg(rows: pl.DataFrame, k: int) -> pl.DataFrame:
    """nDCG@k of each group of a day, ties averaged, in [0, 1]; groups without a relevant row are left out.

    Source: McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of
    Tied Scores, ECIR 2008, as scikit-learn has it.

    Args:
        rows: `event_date`, `group`, `label` (relevance, not negative) and `score` (finite).
        k: places that count.

    Returns:
        `event_date`, `group`, `value`.

    Raises:
        OneClassError: no group has a relevant row and another.
    """
    judged = [
        (*key, _ndcg_of(part["label"].cast(pl.Float64).to_numpy(), part["score"].to_numpy(), k))
        for key, part in rows.partition_by("event_date", "group", as_dict=True, maintain_order=True).items()
        if part.height > 1 and (part["label"] > 0).any()
    ]
    if not judged:
        raise metrics.OneClassError("no group has two rows and a relevant one; measure over more days")
    return pl.DataFrame(judged, schema=["event_date", "group", "value"], orient="row")


def _ndcg_of(label: NDArray[np.float64], score: NDArray[np.float64], k: int) -> float:
    from sklearn.metrics import ndcg_score

    return min(float(ndcg_score(label[None], score[None], k=k)), 1.0)
