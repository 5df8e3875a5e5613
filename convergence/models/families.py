"""Families of models for a search: how each is fitted from numbers alone, where it is searched, and where that begins.

The starting values are usual ones for a few thousand rows and were not searched, so that a figure of theirs on any rows
is honest. Every fit is a member of an ensemble, with its ONNX form.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from convergence.models import boosting, linear, network, scaling
from convergence.models.ensemble import Member, Rows
from convergence.models.tuning import Range

LINEAR, BOOSTED, FOREST, NETWORK = "linear", "boosted", "forest", "network"
FOREST_TREES = 200
_HELD_OUT = 0.1  # share of rows, at random, that stops a network's training


class Family(NamedTuple):
    """A kind of model: a fit of rows and parameters, what is searched, a value of each to begin with, what it needs."""

    name: str
    fit: Callable[[Rows, Mapping[str, float]], Member]
    space: Mapping[str, Range]
    start: Mapping[str, float]
    library: str = "numpy"

    def given(self, parameters: Mapping[str, float]) -> Callable[[Rows], Member]:
        """The fit with these parameters, of rows alone."""
        return lambda rows: self.fit(rows, parameters)


SPACES: Mapping[str, Mapping[str, Range]] = {
    LINEAR: {"freedom": Range(0.003, 10.0, log=True)},
    BOOSTED: {
        "rounds": Range(80, 250),
        "max_depth": Range(2, 4),
        "eta": Range(0.02, 0.1, log=True),
        "min_child_weight": Range(1.0, 30.0, log=True),
        "lambda": Range(1.0, 30.0, log=True),
        "subsample": Range(0.5, 1.0),
        "colsample_bytree": Range(0.3, 0.9),
    },
    FOREST: {
        "max_depth": Range(4, 9),
        "min_child_weight": Range(1.0, 20.0, log=True),
        "colsample_bynode": Range(0.1, 0.6),
    },
    NETWORK: {"hidden": Range(8, 48), "epochs": Range(10, 30)},
}
START: Mapping[str, Mapping[str, float]] = {
    LINEAR: {"freedom": 1.0},
    BOOSTED: {
        "rounds": 150,
        "max_depth": 3,
        "eta": 0.05,
        "min_child_weight": 5.0,
        "lambda": 5.0,
        "subsample": 0.7,
        "colsample_bytree": 0.5,
    },
    FOREST: {"max_depth": 7, "min_child_weight": 3.0, "colsample_bynode": 0.3},
    NETWORK: {"hidden": 16, "epochs": 20},
}


def families(features: Sequence[str], *, seed: int = 0, nthread: int = 1) -> dict[str, Family]:
    """Logistic regression, boosted trees, random forest and perceptron on these columns, by name.

    Equal rows, parameters, seed and number of threads give equal models on one machine.
    """

    def trees(rows: Rows, settings: Mapping[str, float], rounds: int) -> boosting.Trees:
        frame = pl.DataFrame(rows.values, schema=list(features)).fill_nan(None)
        model = boosting.fit(
            frame,
            pl.Series(rows.label),
            rounds=rounds,
            params=settings,
            weight=rows.weight,
            seed=seed,
            nthread=nthread,
        )
        return boosting.Trees(model, nthread)

    def boosted(rows: Rows, parameters: Mapping[str, float]) -> boosting.Trees:
        settings = {name: value for name, value in parameters.items() if name != "rounds"}
        return trees(rows, settings, int(parameters["rounds"]))

    def forest(rows: Rows, parameters: Mapping[str, float]) -> boosting.Trees:
        # XGBoost's own random forest: one round of many trees (its documentation, "Random Forests in XGBoost")
        grown = {"num_parallel_tree": FOREST_TREES, "eta": 1.0, "subsample": 0.63, "lambda": 1.0}
        return trees(rows, {**grown, **parameters}, 1)

    def straight(rows: Rows, parameters: Mapping[str, float]) -> linear.Linear:
        scaled = scaling.fit(rows.values)
        return linear.fit(rows.values, rows.label, rows.weight, scaled, freedom=parameters["freedom"])

    def perceptron(rows: Rows, parameters: Mapping[str, float]) -> network.Network:
        return network.fit(
            rows.values,
            rows.label,
            rows.weight,
            scaling.fit(rows.values),
            newest=np.random.default_rng(seed).random(len(rows.label)) < _HELD_OUT,
            hidden=(int(parameters["hidden"]),),
            epochs=int(parameters["epochs"]),
            batch=512,
            seed=seed,
            nthread=nthread,
        )

    made = (
        (LINEAR, straight, "sklearn.linear_model"),
        (BOOSTED, boosted, "xgboost"),
        (FOREST, forest, "xgboost"),
        (NETWORK, perceptron, "torch"),
    )
    return {name: Family(name, fit, SPACES[name], START[name], library) for name, fit, library in made}
