"""What a linear or neural member sees of the features: signed logarithms around the median, gaps marked.

Amounts, counts and ages have long tails, and a missing value says something of its own; trees need neither.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convergence.models.onnx_graph import Graph

_FAR = np.float32(8)  # standard deviations: beyond it a value is merely large


@dataclass(frozen=True)
class Scaling:
    """Signed log, less `center`, over `spread`, cut at 8; missing is 0; then an indicator for each column in `gaps`."""

    center: NDArray[np.float32]
    spread: NDArray[np.float32]
    gaps: NDArray[np.int64]

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, k) features, NaN missing, to (n, k + gaps) finite numbers."""
        missing = np.isnan(values)
        scaled = np.clip((_signed_log(values) - self.center) / self.spread, -_FAR, _FAR)
        return np.hstack([np.where(missing, np.float32(0), scaled), missing[:, self.gaps].astype(np.float32)])

    def add_to(self, graph: Graph, values: str) -> str:
        """The same in ONNX."""
        missing = graph.add("IsNaN", values)
        size = graph.add("Log", graph.add("Add", graph.add("Abs", values), graph.constant(np.float32(1))))
        centred = graph.add("Sub", graph.add("Mul", graph.add("Sign", values), size), graph.constant(self.center))
        scaled = graph.add("Div", centred, graph.constant(self.spread))
        cut = graph.add("Clip", scaled, graph.constant(-_FAR), graph.constant(_FAR))
        filled = graph.add("Where", missing, graph.constant(np.float32(0)), cut)
        gaps = graph.add("Gather", graph.add("Cast", missing, to=1), graph.constant(self.gaps), axis=1)
        return graph.add("Concat", filled, gaps, axis=1)


def fit(values: NDArray[np.float32]) -> Scaling:
    """The scaling of (n, k) features; a column without two different values counts for nothing."""
    logs = _signed_log(values)
    missing = np.isnan(values)
    empty = missing.all(axis=0)
    logs[:, empty] = 0
    spread = np.nanstd(logs, axis=0, dtype=np.float64)
    return Scaling(
        center=np.nanmedian(logs, axis=0).astype(np.float32),
        spread=np.where(spread > 0, spread, np.inf).astype(np.float32),
        gaps=np.flatnonzero(missing.any(axis=0) & ~empty),
    )


def _signed_log(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sign(values) * np.log(np.abs(values) + np.float32(1))
