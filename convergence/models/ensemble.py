"""Members, their stack and its calibration: one model, fitted in time order, written as one ONNX graph.

The fit window is cut in time: members learn from the older part, and the newer part decides what is served. A stack
that does not clearly beat its best member is dropped: it would cost more and bring nothing. Members are not fitted
again on all rows afterwards: on the fraud data that gained 0.001 of average precision and took 1.6 times as long.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models import calibration, metrics, stored
from convergence.models.calibration import Calibration, Kind
from convergence.models.onnx_graph import INPUT, Graph

STACK = "stack"
PARITY = 1e-5  # greatest difference between a probability and its ONNX counterpart
_DOUBLE = 11  # onnx.TensorProto.DOUBLE


class Member(Protocol):
    """A fitted model that gives log odds, natively and in ONNX."""

    def margins(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log odds of (n, k) features, NaN missing."""
        ...

    def add_to(self, graph: Graph, values: str) -> str:
        """The same in ONNX: (n, 1) float32."""
        ...


@dataclass(frozen=True)
class Rows:
    """Labelled rows in time order: (n, k) float32 features, labels, days, and how many rows each stands for."""

    values: NDArray[np.float32]
    label: NDArray[np.bool_]
    day: NDArray[np.datetime64]
    weight: NDArray[np.float64]

    def where(self, which: NDArray[np.bool_]) -> "Rows":
        """Some of the rows."""
        return Rows(self.values[which], self.label[which], self.day[which], self.weight[which])

    def newest(self, days: int) -> NDArray[np.bool_]:
        """Whether a row is of the last `days` days."""
        return self.day > self.day.max() - np.timedelta64(days, "D")

    def thinned(self, share: int, seed: int) -> "Rows":
        """All positives, and every `share`-th negative at random, which then counts `share` times."""
        kept = self.label | (np.random.default_rng(seed).random(len(self.label)) < 1 / share)
        rows = self.where(kept)
        return Rows(rows.values, rows.label, rows.day, np.where(rows.label, rows.weight, rows.weight * share))


@dataclass(frozen=True)
class Ensemble:
    """Weighted log odds of members, calibrated. One member with weight 1 is an ensemble, too."""

    members: Mapping[str, Member]
    weights: NDArray[np.float64]
    calibration: Calibration

    def score(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The calibrated probability of (n, k) features, by the members' own libraries."""
        margins = member_margins(self.members, values) @ self.weights
        return calibration.probability(self.calibration.apply(margins))

    def to_onnx(self, features: Sequence[str]) -> bytes:
        """The whole ensemble as one graph, which `stored.load` opens."""
        graph = Graph()
        stacked = _weighted(graph, _columns(graph, self.members), self.weights)
        probability = graph.add("Sigmoid", self.calibration.add_to(graph, stacked))
        return graph.to_bytes({stored.OUTPUT: probability}, features, "calibrated probability of the positive class")


@dataclass(frozen=True)
class Fitted:
    """What a fit found.

    Attributes:
        served: the stack, or its best member, calibrated.
        members: all members by name.
        chosen: `stack` or the name of the member that is served.
        reason: why, with the figures.
        candidates: members and stack in ONNX, an output of log odds each.
        comparison: average precision of each on the newest half of the newer part, with its interval.
        log_losses: of each kind of calibration on that half; the least was taken.
        threshold: the score that 0.5 % of the newer part's negatives reach.
    """

    served: Ensemble
    members: Mapping[str, Member]
    chosen: str
    reason: str
    candidates: bytes
    comparison: list[dict[str, Any]]
    log_losses: Mapping[Kind, float]
    threshold: float


def fit(
    rows: Rows,
    fits: Mapping[str, Callable[[Rows], Member]],
    features: Sequence[str],
    *,
    newer_days: int = 14,
    least_gain: float = 0.002,
    false_positive_rate: float = 0.005,
    repetitions: int = 200,
    seed: int = 0,
) -> Fitted:
    """Fit members, stack and calibration on one window of time, and decide from it alone what is served.

    Members are fitted on the older part. On the first half of the newer part the stack's weights are found; on its
    second half stack and members are compared, days resampled: the stack is served if it gains more than one standard
    error and more than `least_gain`. What is chosen is calibrated on the whole newer part.

    Args:
        rows: in time order.
        fits: how each member is fitted, by name.
        features: names of the columns of `rows.values`.
        newer_days: length of the newer part, in days.
        least_gain: average precision that is worth running all members instead of one.
        false_positive_rate: share of negatives that an alert's threshold lets pass.
        repetitions: draws of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ModelError: the window is too short to be cut, or a part of it has one class only.
    """
    newer = rows.newest(newer_days)
    later = rows.newest(newer_days // 2)[newer]
    old, new = rows.where(~newer), rows.where(newer)
    for name, label in (("older", old.label), ("newer", new.label[~later]), ("newest", new.label[later])):
        if len(np.unique(label)) < 2:
            raise ModelError(
                f"the {name} part of the fit window has {len(label)} rows and {int(label.sum())} positives; expected "
                f"both classes in each of its parts (the newer one has {newer_days} days); give more days"
            )
    members = {name: fit_member(old) for name, fit_member in fits.items()}
    margins = member_margins(members, new.values)
    weights, _ = calibration.rising_logistic(margins[~later], new.label[~later])
    rivals = {**dict(zip(members, margins[later].T, strict=True)), STACK: margins[later] @ weights}
    comparison, chosen, reason = _compared(rivals, new.where(later), least_gain, repetitions, seed)
    everywhere, _ = calibration.rising_logistic(margins, new.label)
    serving = members if chosen == STACK else {chosen: members[chosen]}
    weights = everywhere if chosen == STACK else np.ones(1)
    ours = member_margins(serving, new.values) @ weights
    losses = calibration.choose(ours, new.label, later)
    calibrated = calibration.fit(next(iter(losses)), ours, new.label)
    threshold = metrics.at_false_positive_rate(
        new.label, calibration.probability(calibrated.apply(ours)), false_positive_rate
    ).threshold
    return Fitted(
        Ensemble(serving, weights, calibrated),
        members,
        chosen,
        reason,
        _candidates(members, everywhere, features),
        comparison,
        losses,
        threshold,
    )


def member_margins(members: Mapping[str, Member], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, m) log odds, a column per member."""
    return np.column_stack([member.margins(values) for member in members.values()])


def checked_onnx(ensemble: Ensemble, features: Sequence[str], values: NDArray[np.float32]) -> tuple[bytes, float]:
    """The ensemble's ONNX graph and its greatest difference from the native scores of some rows.

    Raises:
        ModelError: the difference is above PARITY: the graph is not the model that was trained.
    """
    blob = ensemble.to_onnx(features)
    served = stored.load(blob, sha256=stored.digest(blob), features=features)
    difference = float(np.abs(served.score(values) - ensemble.score(values)).max())
    if not difference <= PARITY:
        raise ModelError(
            f"the ONNX graph differs from the trained model by {difference:.2g} on {len(values)} rows, at most "
            f"{PARITY:g} is allowed; nothing was stored: compare the members' margins with their graphs"
        )
    return blob, difference


def _compared(
    rivals: Mapping[str, NDArray[np.float64]], rows: Rows, least_gain: float, repetitions: int, seed: int
) -> tuple[list[dict[str, Any]], str, str]:
    """Average precision of each rival, the one to be served, and why."""
    frame = pl.DataFrame({"event_date": rows.day, "label": rows.label, **rivals})
    intervals = {name: _interval(frame, name, None, repetitions, seed) for name in rivals}
    best = max((name for name in rivals if name != STACK), key=lambda name: intervals[name].estimate)
    gain = _interval(frame, STACK, best, repetitions, seed)
    better = gain.estimate > max(gain.standard_error, least_gain)
    reason = (
        f"the stack's average precision differs from that of its best member ({best}) by {gain.estimate:+.4f}, "
        f"standard error {gain.standard_error:.4f}, least gain {least_gain:g}, on {len(np.unique(rows.day))} days that "
        f"neither has seen: {'the stack is served' if better else f'the stack is dropped, {best} is served alone'}"
    )
    comparison = [
        {"candidate": name, "average_precision": found.estimate, "low": found.low, "high": found.high}
        for name, found in intervals.items()
    ]
    return comparison, STACK if better else best, reason


def _interval(frame: pl.DataFrame, name: str, less: str | None, repetitions: int, seed: int) -> metrics.Interval:
    """Average precision of a rival, or what it has more than another, days resampled."""

    def measure(part: pl.DataFrame) -> float:
        other = metrics.average_precision(part["label"], part[less]) if less else 0.0
        return metrics.average_precision(part["label"], part[name]) - other

    return metrics.bootstrap_interval(frame, measure, repetitions=repetitions, seed=seed)


def _candidates(members: Mapping[str, Member], weights: NDArray[np.float64], features: Sequence[str]) -> bytes:
    graph = Graph()
    columns = _columns(graph, members)
    outputs = {**dict(zip(members, columns, strict=True)), STACK: _weighted(graph, columns, weights)}
    return graph.to_bytes(outputs, features, "log odds of each candidate, not calibrated")


def _columns(graph: Graph, members: Mapping[str, Member]) -> list[str]:
    """Each member's log odds as float64."""
    return [graph.add("Cast", member.add_to(graph, INPUT), to=_DOUBLE) for member in members.values()]


def _weighted(graph: Graph, columns: Sequence[str], weights: NDArray[np.float64]) -> str:
    together = graph.add("Concat", *columns, axis=1)
    return graph.add("MatMul", together, graph.constant(weights[:, None]))
