"""From a ranking to a probability: a rising map of log odds, so that no two rows change places.

Every kind is a sum of rising functions with weights that are not negative; which one serves is decided in time order,
by log loss on days later than those it was fitted on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.models.onnx_graph import Graph

Kind = Literal["platt", "beta", "isotonic"]
KINDS: tuple[Kind, ...] = ("platt", "beta", "isotonic")
_RISE = 1e-3  # least weight of a calibration's terms: no two different margins get one probability


@dataclass(frozen=True)
class Calibration:
    """Calibrated log odds = bias + sum of weights times rising functions of the margin.

    platt: the margin itself (Platt 1999). beta: ln p and -ln(1 - p) (Kull et al., AISTATS 2017). isotonic: ramps
    between `knots`, steepness one outside them, so that it never is flat.
    """

    kind: Kind
    bias: float
    weights: NDArray[np.float64]
    knots: NDArray[np.float64]

    def apply(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated log odds of n margins."""
        return self.bias + _basis(self.kind, margins, self.knots) @ self.weights

    def add_to(self, graph: Graph, margins: str) -> str:
        """The same in ONNX: (n, 1) float64 to (n, 1) float64."""
        if self.kind == "platt":
            terms = margins
        elif self.kind == "beta":
            rising, falling = _softplus(graph, margins), _softplus(graph, graph.add("Neg", margins))
            terms = graph.add("Concat", graph.add("Neg", falling), rising, axis=1)
        else:
            low, high = (graph.constant(edge[None, :]) for edge in _ramps(self.knots))
            terms = graph.add(
                "Sub",
                graph.add("Min", graph.add("Max", margins, low), high),
                graph.constant(_origin(self.knots)[None, :]),
            )
        product = graph.add("MatMul", terms, graph.constant(self.weights[:, None]))
        return graph.add("Add", product, graph.constant(np.float64(self.bias)))


def fit(kind: Kind, margins: NDArray[np.float64], label: NDArray[np.bool_]) -> Calibration:
    """The calibration of a kind that fits n margins and labels best; both classes are needed."""
    if kind == "isotonic":
        return _isotonic(margins, label)
    nothing = np.empty(0)
    weights, bias = rising_logistic(_basis(kind, margins, nothing), label, _RISE)
    return Calibration(kind, bias, weights, nothing)


def choose(margins: NDArray[np.float64], label: NDArray[np.bool_], later: NDArray[np.bool_]) -> dict[Kind, float]:
    """Log loss of each kind on the rows that are `later`, fitted on the others; the least comes first."""
    losses: dict[Kind, float] = {
        kind: log_loss(fit(kind, margins[~later], label[~later]).apply(margins[later]), label[later]) for kind in KINDS
    }
    return {kind: losses[kind] for kind in sorted(losses, key=losses.__getitem__)}


def log_loss(margins: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    """Mean negative log likelihood of labels under log odds, in nats."""
    return float(np.logaddexp(0, np.where(label, -margins, margins)).mean())


def probability(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds to probabilities."""
    from scipy.special import expit

    return expit(margins)


def rising_logistic(
    terms: NDArray[np.float64], label: NDArray[np.bool_], least: float = 0.0
) -> tuple[NDArray[np.float64], float]:
    """Logistic regression of (n, m) terms whose weights are at least `least` (not negative): weights and bias."""
    from scipy.optimize import minimize
    from scipy.special import expit

    design = np.column_stack([terms, np.ones(len(terms))])
    truth = label.astype(np.float64)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = design @ w
        return log_loss(margins, label), design.T @ (expit(margins) - truth) / len(truth)

    count = terms.shape[1]
    start = np.append(np.full(count, 1 / count), 0.0)
    bounds = [(least, None)] * count + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-8})
    return found.x[:-1], float(found.x[-1])


def _basis(kind: Kind, margins: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    if kind == "platt":
        return margins[:, None]
    if kind == "beta":
        return np.column_stack([-np.logaddexp(0, -margins), np.logaddexp(0, margins)])
    low, high = _ramps(knots)
    return np.clip(margins[:, None], low, high) - _origin(knots)


def _softplus(graph: Graph, values: str) -> str:
    """ln(1 + exp(v)), for which ONNX Runtime has no operator in double precision."""
    tail = graph.add("Exp", graph.add("Neg", graph.add("Abs", values)))
    log = graph.add("Log", graph.add("Add", tail, graph.constant(np.float64(1))))
    return graph.add("Add", graph.add("Max", values, graph.constant(np.float64(0))), log)


def _ramps(knots: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each ramp begins and ends: one below the knots, one between each two, one above."""
    return np.append(-np.inf, knots), np.append(knots, np.inf)


def _origin(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each ramp is zero."""
    return np.append(knots[0], knots)


def _isotonic(margins: NDArray[np.float64], label: NDArray[np.bool_]) -> Calibration:
    """Pool adjacent violators, joined at the blocks' mean margins (Oron and Flournoy, centred isotonic, 2017)."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(margins, kind="stable")
    fitted = IsotonicRegression().fit_transform(margins[order], label[order].astype(np.float64))
    _, block = np.unique(fitted, return_inverse=True)
    size = np.bincount(block)
    centre = np.bincount(block, margins[order]) / size
    frauds = np.bincount(block, label[order])
    odds = np.log((frauds + 0.5) / (size - frauds + 0.5))  # half a case each way: no rate is 0 or 1
    rising = np.append(True, odds[1:] > np.maximum.accumulate(odds)[:-1])
    knots, heights = centre[rising], odds[rising]
    weights = np.concatenate([[1.0], np.diff(heights) / np.diff(knots), [1.0]])
    return Calibration("isotonic", float(heights[0]), weights, knots)


def equal_mass_calibration_error(label: pl.Series, score: pl.Series, *, bins: int = 10) -> float:
    """Expected calibration error: mean distance of mean score and share of positives over bins of equally many rows.

    Equally many rows and not equally wide: where positives are rare, nearly all rows share the lowest tenth.
    """
    rows = pl.DataFrame({"label": label.cast(pl.Float64), "score": score}).sort("score", "label").with_row_index("bin")
    gaps = rows.group_by(pl.col("bin") * bins // rows.height, maintain_order=True).agg(
        gap=(pl.col("score").mean() - pl.col("label").mean()).abs(), rows=pl.len()
    )
    return float((gaps["gap"] * gaps["rows"]).sum() / rows.height)
