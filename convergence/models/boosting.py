"""Gradient boosted trees as two pure functions, fit and predict, joined by XGBoost's own JSON.

The text is the whole model, feature names included, so it can be stored, compared and read without running code.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ConvergenceError, ModelError

if TYPE_CHECKING:
    from xgboost import Booster

OWN_ARGUMENTS = frozenset({"seed", "random_state", "nthread", "n_jobs", "tree_method"})


def fit(
    features: pl.DataFrame,
    label: pl.Series,
    *,
    rounds: int = 100,
    params: Mapping[str, Any] | None = None,
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
        seed: seed of row and column sampling.
        nthread: number of threads.

    Raises:
        ConvergenceError: lengths differ, nulls in the label, text or infinite features, or `params` sets what an
            argument sets.
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
        _values(features),
        label=label.cast(pl.Float32).to_numpy(),
        feature_names=features.columns,
        nthread=nthread,
    )
    settings = {"objective": "binary:logistic", **(params or {})}
    settings |= {"tree_method": "hist", "seed": seed, "nthread": nthread}
    return xgboost.train(settings, matrix, num_boost_round=rounds).save_raw("json").decode()


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
    return booster.predict(xgboost.DMatrix(_values(features), feature_names=expected, nthread=nthread))


def feature_names(model: str | bytes) -> list[str]:
    """The model's feature names in the order that `predict` expects; errors as `predict`."""
    return _load(model)[1]


def importance(model: str | bytes) -> pl.DataFrame:
    """Mean gain in the objective over a feature's splits, 0 for a feature never split on; errors as `predict`.

    Returns:
        `feature` (String), `gain` (Float64), highest gain first, ties by name.
    """
    booster, names = _load(model)
    gains = booster.get_score(importance_type="gain")
    frame = pl.DataFrame({"feature": names, "gain": [gains.get(name, 0.0) for name in names]})
    return frame.cast({"gain": pl.Float64}).sort(pl.col("gain").neg(), "feature")


def _values(features: pl.DataFrame) -> NDArray[np.float32]:
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
