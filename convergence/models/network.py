"""The neural member: a small perceptron on scaled features, stopped where the newest days of its own rows say.

torch trains it; what is kept is its matrices, so that serving needs no torch.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convergence.models.onnx_graph import Graph
from convergence.models.scaling import Scaling

if TYPE_CHECKING:
    import torch

_RATE, _DECAY, _PATIENCE = 2e-3, 1e-4, 3


@dataclass(frozen=True)
class Network:
    """Layers of (inputs, outputs) weights and biases with ReLU between them; the last one gives log odds."""

    scaling: Scaling
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]

    def margins(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log odds of (n, k) features, NaN missing."""
        hidden = self.scaling.apply(values)
        for weights, biases in self.layers[:-1]:
            hidden = np.maximum(hidden @ weights + biases, 0)
        weights, biases = self.layers[-1]
        return (hidden @ weights + biases)[:, 0].astype(np.float64)

    def add_to(self, graph: Graph, values: str) -> str:
        """The same in ONNX: (n, 1) log odds as float32."""
        hidden = self.scaling.add_to(graph, values)
        for number, (weights, biases) in enumerate(self.layers):
            hidden = graph.add("Relu", hidden) if number else hidden
            hidden = graph.add("Gemm", hidden, graph.constant(weights), graph.constant(biases))
        return hidden


def fit(
    values: NDArray[np.float32],
    label: NDArray[np.bool_],
    weight: NDArray[np.float64],
    scaling: Scaling,
    *,
    newest: NDArray[np.bool_],
    hidden: tuple[int, ...] = (64, 32),
    epochs: int = 20,
    batch: int = 1024,
    seed: int = 0,
    nthread: int = 1,
) -> Network:
    """Train on the rows that are not `newest`, keep the epoch with the least log loss on those that are.

    Args:
        values: (n, k) features, NaN missing.
        label: n values.
        weight: how many rows each row stands for.
        scaling: what the network sees of the features.
        newest: the rows that stop the training: later in time than all others.
        hidden: widths of the hidden layers.
        epochs: at most this many passes; fewer once three have brought nothing.
        batch: rows of a step.
        seed: of the weights and the order of rows; equal inputs give an equal network on one machine.
        nthread: threads of torch, on which the sums depend.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(nthread)
    try:
        random = torch.Generator().manual_seed(seed)
        rows = [torch.from_numpy(a) for a in (scaling.apply(values), label.astype(np.float32), weight.astype("f4"))]
        early, late = ([r[torch.from_numpy(which)] for r in rows] for which in (~newest, newest))
        layers = _layers([rows[0].shape[1], *hidden, 1], random)
        optimiser = torch.optim.AdamW([p for layer in layers for p in layer], lr=_RATE, weight_decay=_DECAY)
        best, kept, since = np.inf, _copy(layers), 0
        for _ in range(epochs):
            for step in torch.randperm(len(early[0]), generator=random).split(batch):
                optimiser.zero_grad()
                _loss(layers, *(r[step] for r in early)).backward()
                optimiser.step()
            with torch.no_grad():
                loss = float(_loss(layers, *late))
            since += 1
            if loss < best:
                best, kept, since = loss, _copy(layers), 0
            if since == _PATIENCE:
                break
        return Network(scaling, kept)
    finally:
        torch.set_num_threads(threads)


def _layers(widths: list[int], random: "torch.Generator") -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """He's initialisation (He et al., ICCV 2015), drawn from `random` alone."""
    import torch

    return [
        (
            (torch.randn(fan_in, fan_out, generator=random) * (2 / fan_in) ** 0.5).requires_grad_(),
            torch.zeros(fan_out, requires_grad=True),
        )
        for fan_in, fan_out in pairwise(widths)
    ]


def _loss(
    layers: "list[tuple[torch.Tensor, torch.Tensor]]", x: "torch.Tensor", y: "torch.Tensor", weight: "torch.Tensor"
) -> "torch.Tensor":
    import torch

    for weights, biases in layers[:-1]:
        x = torch.relu(x @ weights + biases)
    margin = (x @ layers[-1][0] + layers[-1][1])[:, 0]
    losses = torch.nn.functional.binary_cross_entropy_with_logits(margin, y, weight, reduction="sum")
    return losses / weight.sum()


def _copy(
    layers: "list[tuple[torch.Tensor, torch.Tensor]]",
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]:
    return tuple((w.detach().numpy().copy(), b.detach().numpy().copy()) for w, b in layers)
