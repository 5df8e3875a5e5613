"""Why a score is what it is: exact SHAP values of the boosted trees, which add up to their log odds.

Where a stack is served the reasons are those of its trees; the values of a model that cannot be added up are not given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models import boosting

ADDITIVITY = 1e-4  # log odds


@dataclass(frozen=True)
class Explained:
    """(n, k) contributions to the log odds, the base they start from, and how far a row's sum is from its log odds."""

    features: tuple[str, ...]
    values: NDArray[np.float32]
    contributions: NDArray[np.float64]
    base: float
    error: NDArray[np.float64]


def explain(model: str, features: pl.DataFrame, *, nthread: int = 1) -> Explained:
    """SHAP values of rows under boosted trees.

    Args:
        model: XGBoost JSON.
        features: n > 0 rows with at least the model's features, null missing.
        nthread: number of threads.

    Raises:
        ModelError: the text is no model, or sum and base miss a row's log odds by more than ADDITIVITY.
        ConvergenceError: a feature is not usable.
    """
    trees = boosting.Trees(model, nthread)
    return explain_values(trees, boosting.values_of(features.select(trees.features)))


def explain_values(trees: boosting.Trees, values: NDArray[np.float32]) -> Explained:
    """The same under loaded trees, for (n, k) values in their order, NaN missing. Raises ModelError as `explain`."""
    found = trees.contributions(values).astype(np.float64)
    error = np.abs(found.sum(axis=1) - trees.margins(values))
    if not (error <= ADDITIVITY).all():
        raise ModelError(
            f"the SHAP values of {int((error > ADDITIVITY).sum())} of {len(error)} rows miss their log odds by up to "
            f"{error.max():.2g}, at most {ADDITIVITY:g} is allowed; no reason is given: check the version of xgboost"
        )
    return Explained(trees.features, values, found[:, :-1], float(found[0, -1]), error)


def top(explained: Explained, count: int = 5) -> list[list[tuple[str, float, float]]]:
    """For each row the features that raise its score most: (name, value, contribution), the highest first."""
    highest = np.argsort(-explained.contributions, axis=1, kind="stable")[:, :count]
    return [
        [
            (explained.features[i], float(explained.values[row, i]), float(explained.contributions[row, i]))
            for i in order
        ]
        for row, order in enumerate(highest)
    ]


def in_words(reasons: Sequence[tuple[str, float, float]], descriptions: Mapping[str, str]) -> str:
    """Reasons as numbered lines: what the feature is, its value, and what it does to the score."""
    return "\n".join(f"{place}. {worded(*reason, descriptions)}" for place, reason in enumerate(reasons, 1))


def worded(feature: str, value: float, contribution: float, descriptions: Mapping[str, str]) -> str:
    """One reason in words."""
    return (
        f"{descriptions.get(feature, feature)}: {'missing' if np.isnan(value) else f'{value:,.4g}'} "
        f"({'raises' if contribution > 0 else 'lowers'} the log odds by {abs(contribution):.2f})"
    )


def summary(explained: Explained) -> pl.DataFrame:
    """Mean absolute contribution of each feature over the rows: `feature`, `mean_abs_shap`, the greatest first."""
    frame = pl.DataFrame({"feature": explained.features, "mean_abs_shap": np.abs(explained.contributions).mean(axis=0)})
    return frame.sort(pl.col("mean_abs_shap").neg(), "feature")
