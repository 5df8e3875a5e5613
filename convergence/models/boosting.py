"""Gradient boosted trees as two pure functions, fit and predict, joined by XGBoost's own JSON.

The text is the whole model, feature names included, so it can be stored, compared and read without running code.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ConvergenceError, ModelError
from convergence.models.onnx_graph import TREES, Graph

if TYPE_CHECKING:
    from xgboost import Booster

OWN_ARGUMENTS = frozenset({"seed", "random_state", "nthread", "n_jobs", "tree_method"})

_NODE = ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values", "nodes_truenodeids",
         "nodes_falsenodeids", "nodes_missing_value_tracks_true")  # fmt: skip
_LEAF = ("target_treeids", "target_nodeids", "target_ids", "target_weights")


def fit(
    features: pl.DataFrame,
    label: pl.Series,
    *,
    rounds: int = 100,
    params: Mapping[str, Any] | None = None,
    weight: NDArray[np.float64] | None = None,
    grown_from: str | None = None,
    seed: int = 0,
    nthread: int = 1,
) -> str:
    """Train trees on histograms and return them as XGBoost JSON.

    Equal inputs give equal text on one machine; the sums of a training run depend on `nthread`.

    Args:
        features: n rows of numeric or Boolean columns, used as float32; a null stays missing.
        label: n values, Boolean or numeric, no nulls.
        rounds: number of trees.
        params: XGBoost parameters; the objective is `binary:logistic` unless given here.
        weight: how many rows each stands for; one each unless given.
        grown_from: a model of the same features whose trees are kept and continued with `rounds` more.
        seed: seed of row and column sampling.
        nthread: number of threads.

    Raises:
        ConvergenceError: lengths differ, nulls in the label, text or infinite features, or `params` sets what an
            argument sets.
        ModelError: `grown_from` is not a whole XGBoost JSON model, or one of other features.
    """
    import xgboost

    repeated = sorted(OWN_ARGUMENTS & (params or {}).keys())
    if repeated:
        msg = f"params sets {repeated}, expected none of {sorted(OWN_ARGUMENTS)}; use the arguments seed and nthread"
        raise ConvergenceError(msg)
    if label.len() != features.height or label.null_count() or features.is_empty():
        msg = (
            f"expected one label without null per feature row and at least one row; found {features.height} rows, "
            f"{label.len()} labels, {label.null_count()} null"
        )
        raise ConvergenceError(msg)
    matrix = xgboost.DMatrix(
        values_of(features),
        label=label.cast(pl.Float32).to_numpy(),
        weight=weight,
        feature_names=features.columns,
        nthread=nthread,
    )
    before, names = _load(grown_from) if grown_from else (None, features.columns)
    if names != features.columns:
        raise ModelError(f"cannot grow a model of {names} on {features.columns}; give its features in its order")
    settings = {"objective": "binary:logistic", **(params or {})}
    settings |= {"tree_method": "hist", "seed": seed, "nthread": nthread}
    return xgboost.train(settings, matrix, num_boost_round=rounds, xgb_model=before).save_raw("json").decode()


def predict(model: str | bytes, features: pl.DataFrame, *, nthread: int = 1) -> NDArray[np.float32]:
    """Score rows: for the default objective the probability of the positive class, in [0, 1].

    Args:
        model: text made by `fit`.
        features: n rows with exactly the model's columns in the model's order.
        nthread: number of threads; the scores do not depend on it.

    Returns:
        n values, float32.

    Raises:
        ModelError: the text is not a whole XGBoost JSON model.
        ConvergenceError: the columns differ from the model's, or are not usable as in `fit`.
    """
    import xgboost

    booster, expected = _load(model)
    if features.columns != expected:
        missing = [name for name in expected if name not in features.columns]
        extra = [name for name in features.columns if name not in expected]
        what = f"missing {missing}, unexpected {extra}" if missing or extra else "the order differs"
        msg = (
            f"features do not fit the model ({what}): expected {expected}, found {features.columns}; "
            "select the model's features in its order"
        )
        raise ConvergenceError(msg)
    booster.set_param({"nthread": nthread})
    return booster.predict(xgboost.DMatrix(values_of(features), feature_names=expected, nthread=nthread))


@dataclass(frozen=True)
class Trees:
    """The boosted trees of a `fit` as a member of an ensemble: log odds of a matrix, natively and in ONNX.

    The text is read when it is first needed, once; threads may share the trees.
    """

    model: str
    nthread: int = 1

    @property
    def features(self) -> tuple[str, ...]:
        """The feature names in the model's order. Raises ModelError: the text is not a whole XGBoost JSON model."""
        return tuple(self._loaded[1])

    def margins(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log odds of (n, k) features in the model's order, NaN missing; raises ModelError as `predict`."""
        return self._loaded[0].inplace_predict(values, predict_type="margin").astype(np.float64)

    def contributions(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Exact SHAP values of the log odds (TreeSHAP, Lundberg et al., Nature MI 2020), by XGBoost.

        Args:
            values: (n, k) features in the model's order, NaN missing.

        Returns:
            (n, k + 1): a value per feature, then the base, the same for every row; a row adds up to its log odds.

        Raises:
            ModelError: the text is not a whole XGBoost JSON model.
        """
        import xgboost

        booster, names = self._loaded
        return booster.predict(xgboost.DMatrix(values, feature_names=names, nthread=self.nthread), pred_contribs=True)

    @cached_property
    def _loaded(self) -> "tuple[Booster, list[str]]":
        booster, names = _load(self.model)
        booster.set_param({"nthread": self.nthread})
        return booster, names

    def add_to(self, graph: Graph, values: str) -> str:
        """The same in ONNX: (n, 1) log odds as float32. A split sends x < threshold left, and a gap its own way."""
        learner = json.loads(self.model)["learner"]
        if learner["objective"]["name"] != "binary:logistic" or any(
            any(tree["split_type"]) for tree in learner["gradient_booster"]["model"]["trees"]
        ):
            raise ModelError(
                f"expected trees of binary:logistic over numbers, found {learner['objective']['name']} or categories; "
                "fit them with convergence.models.boosting"
            )
        base = float(json.loads(learner["learner_model_param"]["base_score"])[0])
        nodes: dict[str, list[Any]] = {name: [] for name in _NODE}
        leaves: dict[str, list[Any]] = {name: [] for name in _LEAF}
        for number, tree in enumerate(learner["gradient_booster"]["model"]["trees"]):
            left, right, conditions = tree["left_children"], tree["right_children"], tree["split_conditions"]
            for node, below in enumerate(left):
                leaf = below == -1
                for name, value in zip(
                    _NODE,
                    (number, node, 0 if leaf else tree["split_indices"][node], "LEAF" if leaf else "BRANCH_LT",
                     0.0 if leaf else conditions[node], 0 if leaf else below, 0 if leaf else right[node],
                     0 if leaf else int(tree["default_left"][node])),
                    strict=True,
                ):  # fmt: skip
                    nodes[name].append(value)
                if leaf:
                    for name, value in zip(_LEAF, (number, node, 0, conditions[node]), strict=True):
                        leaves[name].append(value)
        return graph.add(
            "TreeEnsembleRegressor",
            values,
            domain=TREES,
            n_targets=1,
            base_values=[math.log(base / (1 - base))],
            post_transform="NONE",
            aggregate_function="SUM",
            **nodes,
            **leaves,
        )


def rounds(model: str | bytes) -> int:
    """Number of trees in the model; errors as `predict`."""
    return _load(model)[0].num_boosted_rounds()


def importance(model: str | bytes) -> pl.DataFrame:
    """Mean gain in the objective over a feature's splits, 0 for a feature never split on; errors as `predict`.

    Returns:
        `feature` (String), `gain` (Float64), highest gain first, ties by name.
    """
    booster, names = _load(model)
    gains = booster.get_score(importance_type="gain")
    frame = pl.DataFrame({"feature": names, "gain": [gains.get(name, 0.0) for name in names]})
    return frame.cast({"gain": pl.Float64}).sort(pl.col("gain").neg(), "feature")


def values_of(features: pl.DataFrame) -> NDArray[np.float32]:
    """The matrix that models take: a float32 column per feature, null as NaN. Raises ConvergenceError as `fit`."""
    unusable = [name for name, kind in features.schema.items() if not (kind.is_numeric() or kind == pl.Boolean)]
    if unusable:
        msg = f"features {unusable} are neither numeric nor Boolean; encode them before the model"
        raise ConvergenceError(msg)
    values = features.cast(pl.Float32).fill_null(float("nan"))
    infinite = [column.name for column in values if column.is_infinite().any()]
    if infinite:
        msg = f"features {infinite} hold infinite values as float32; expected finite values or null"
        raise ConvergenceError(msg)
    return values.to_numpy()


def _load(model: str | bytes) -> "tuple[Booster, list[str]]":
    import xgboost

    # Parsed here first: XGBoost also accepts binary forms, and its own parser reports a truncated text as a C++ trace.
    try:
        text = model.decode() if isinstance(model, bytes) else model
        names = json.loads(text)["learner"]["feature_names"]
        booster = xgboost.Booster()
        booster.load_model(bytearray(text.encode()))
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, xgboost.core.XGBoostError) as error:
        msg = (
            f"not a whole XGBoost JSON model: expected the text that fit returns, found {len(model)} "
            f"{'bytes' if isinstance(model, bytes) else 'characters'} that fail with {type(error).__name__}; "
            "store the model again (pickles are never read)"
        )
        raise ModelError(msg) from error
    return booster, names
