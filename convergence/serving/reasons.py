"""Reasons of scores, from the trees that are kept beside each model: read when reasons are first asked for.

Requests that ask for none pay nothing, not even the memory.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convergence.errors import ConvergenceError, ModelError
from convergence.models.boosting import Trees
from convergence.models.explanation import explain_values, top, worded
from convergence.models.releases import Release
from convergence.privacy.masking import foreign

REASONS = 5  # of a row
_MODELS = 3  # kept in memory: a champion, its challenger, and the one before


class NotExplainable(ConvergenceError):
    """The model has no trees, so its scores have no reasons."""


class NoReasons(ConvergenceError):
    """The reasons cannot be had now."""


class Reasons:
    """Reasons by the model that answers; threads may share it.

    Args:
        trees: XGBoost JSON of a release's model; None where it has none.
        words: feature -> what it is.
    """

    def __init__(self, trees: Callable[[Release], str | None], words: Mapping[str, str]) -> None:
        self._read, self._words = trees, words
        self._kept: dict[str, Trees | None] = {}  # by sha256
        self._lock = threading.Lock()

    def of(
        self, release: Release, features: tuple[str, ...], values: npt.NDArray[np.float32]
    ) -> list[list[dict[str, Any]]]:
        """For each row the features that raise its score most, the strongest first.

        Args:
            release: whose model gave the scores.
            features: the model's inputs in their order.
            values: (n, k) of them, NaN missing.

        Raises:
            NotExplainable: the model has no trees over these inputs.
            NoReasons: its trees cannot be read, or their SHAP values do not add up.
        """
        trees = self._trees(release, features)
        try:
            explained = explain_values(trees, values)
        except ModelError as error:
            raise NoReasons(f"no reasons by {release.model_version}: {error}") from error
        return [
            [
                {
                    "feature": feature,
                    "value": None if np.isnan(value) else value,
                    "shap": shap,
                    "words": worded(feature, value, shap, self._words),
                }
                for feature, value, shap in row
            ]
            for row in top(explained, REASONS)
        ]

    def _trees(self, release: Release, features: tuple[str, ...]) -> Trees:
        with self._lock:
            if release.sha256 not in self._kept:
                found = self._loaded(release)
                self._kept = dict([*self._kept.items(), (release.sha256, found)][-_MODELS:])
            trees = self._kept[release.sha256]
        if trees is None or trees.features != features:
            what = "no trees are kept beside it" if trees is None else "its trees read other features"
            raise NotExplainable(f"the scores of {release.model_version} have no reasons: {what}")
        return trees

    def _loaded(self, release: Release) -> Trees | None:
        try:
            text = self._read(release)
            trees = None if text is None else Trees(text)
            _ = trees and trees.features  # read now, under the lock
        except Exception as error:  # the store's own errors too: the score can be had without reasons
            ours = isinstance(error, ConvergenceError)
            said = str(error) if ours else f"{type(error).__name__}: {foreign(str(error))}"
            raise NoReasons(f"the trees of {release.model_version} cannot be read: {said}") from error
        return trees
