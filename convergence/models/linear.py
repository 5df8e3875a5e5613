"""The linear member: logistic regression on scaled features, the plainest model that the others have to beat."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convergence.models.onnx_graph import Graph
from convergence.models.scaling import Scaling


@dataclass(frozen=True)
class Linear:
    """Log odds = weights . scaled features + bias."""

    scaling: Scaling
    weights: NDArray[np.float32]
    bias: np.float32

    def margins(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log odds of (n, k) features, NaN missing."""
        return (self.scaling.apply(values) @ self.weights + self.bias).astype(np.float64)

    def add_to(self, graph: Graph, values: str) -> str:
        """The same in ONNX: (n, 1) log odds as float32."""
        scaled = self.scaling.add_to(graph, values)
        return graph.add("Gemm", scaled, graph.constant(self.weights[:, None]), graph.constant(np.array([self.bias])))


def fit(
    values: NDArray[np.float32],
    label: NDArray[np.bool_],
    weight: NDArray[np.float64],
    scaling: Scaling,
    *,
    freedom: float = 1.0,
) -> Linear:
    """Logistic regression (L2; `freedom` is scikit-learn's C) of n rows with weights; equal inputs, equal model."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=freedom, max_iter=300).fit(scaling.apply(values), label, sample_weight=weight)
    return Linear(scaling, found.coef_[0].astype(np.float32), np.float32(found.intercept_[0]))
