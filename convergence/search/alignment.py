"""Images are brought into the space of a text encoder, from their captions and the names of the classes they show.

Two ways are mixed: the class names' vectors weighted by their probability (ConSE, Norouzi et al. 2014), which needs no
captions, and a ridge regression from features to captions. How, is chosen on the training images alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from convergence.search.retrieval import ranks

Matrix = NDArray[np.float64]
PENALTIES = (0.03, 0.1, 0.3, 1.0)  # of the ridge, in units of a feature's variance
TEMPERATURES = (0.7, 1.0, 1.5)  # of the logits
SHARES = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)  # of the ridge in the mix; the rest is ConSE's


@dataclass(frozen=True)
class Alignment:
    """What takes features (n, f) and logits (n, c) to vectors (n, d): all numbers that `fit` found.

    Attributes:
        weights: (f, d), of the ridge.
        intercept: (d,), of the ridge.
        classes: (c, d), the class names' vectors.
        centre: (d,), the mean ConSE vector of the training images: images near it would be near every query.
        temperature: of the logits.
        share: of the ridge in the mix.
        penalty: of the ridge.
    """

    weights: Matrix
    intercept: Matrix
    classes: Matrix
    centre: Matrix
    temperature: float
    share: float
    penalty: float

    def vectors(self, features: NDArray[Any], logits: NDArray[Any]) -> Matrix:
        """(n, d), each of length one, beside the text encoder's."""
        ridge = unit(features @ self.weights + self.intercept)
        conse = unit(_conse(logits, self.classes, self.temperature) - self.centre)
        return unit(self.share * ridge + (1 - self.share) * conse)

    @classmethod
    def fit(
        cls, features: NDArray[Any], logits: NDArray[Any], captions: Sequence[NDArray[Any]], classes: NDArray[Any], *,
        shares: Sequence[float] = SHARES, seed: int = 0,
    ) -> Self:  # fmt: skip
        """Fit to images with captions; penalty, temperature and share by five folds over these images.

        Args:
            features: (n, f).
            logits: (n, c).
            captions: per image, the vectors (k, d) of its captions.
            classes: (c, d), the vectors of the class names.
            shares: of the ridge, to choose from; (0.0,) is ConSE alone, (1.0,) the ridge alone.
            seed: of the folds.
        """
        wanted = np.repeat(np.arange(len(captions)), [len(vectors) for vectors in captions])
        queries = np.concatenate(list(captions))
        target = targets(captions)
        fold = folds(len(features), seed)
        parts = {
            (penalty, temperature): _parts(features, logits, target, classes, fold, penalty, temperature)
            for penalty, temperature in product(PENALTIES if max(shares) else PENALTIES[:1], TEMPERATURES)
        }

        def quality(choice: tuple[float, float, float]) -> float:
            ridge, conse = parts[choice[:2]]
            mixed = unit(choice[2] * ridge + (1 - choice[2]) * conse)
            return float((1 / (1 + ranks(mixed, queries, wanted))).mean())

        penalty, temperature, share = max(((*key, share) for key in parts for share in shares), key=quality)
        weights, intercept = ridge_regression(features, target, penalty)
        classes = np.asarray(classes, np.float64)
        centre = _conse(logits, classes, temperature).mean(0)
        return cls(weights, intercept, classes, centre, temperature, share, penalty)


def out_of_fold(
    features: NDArray[Any], logits: NDArray[Any], captions: Sequence[NDArray[Any]], classes: NDArray[Any], *,
    shares: Sequence[float] = SHARES, seed: int = 1,
) -> Matrix:  # fmt: skip
    """The vector (n, d) of each image from the one of five alignments that has not seen it; arguments as `fit`."""
    fold = folds(len(features), seed)
    found = np.empty((len(features), classes.shape[1]))
    for k in np.unique(fold):
        seen, unseen = np.flatnonzero(fold != k), fold == k
        alignment = Alignment.fit(features[seen], logits[seen], [captions[i] for i in seen], classes, shares=shares)
        found[unseen] = alignment.vectors(features[unseen], logits[unseen])
    return found


def ridge_regression(features: NDArray[Any], target: Matrix, penalty: float) -> tuple[Matrix, Matrix]:
    """Weights (f, d) and intercept (d,) from features (n, f), standardised, to a centred target (n, d)."""
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64) + 1e-6
    scaled = (features - mean) / deviation
    gram = scaled @ scaled.T / scaled.shape[1] + penalty * np.eye(len(scaled))
    weights = scaled.T / scaled.shape[1] @ np.linalg.solve(gram, target - target.mean(0)) / deviation[:, None]
    return weights, -mean @ weights


def targets(captions: Sequence[NDArray[Any]]) -> Matrix:
    """Per image, the mean of its captions' vectors, of length one."""
    return unit(np.stack([vectors.mean(axis=0, dtype=np.float64) for vectors in captions]))


def folds(count: int, seed: int) -> NDArray[np.intp]:
    """Which of five folds each image is in."""
    return np.random.default_rng(seed).permutation(count) % 5


def unit(vectors: Matrix) -> Matrix:
    """Rows brought to length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _conse(logits: NDArray[Any], classes: Matrix, temperature: float) -> Matrix:
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    probabilities = np.exp(scaled, dtype=np.float64)
    return unit(probabilities / probabilities.sum(axis=1, keepdims=True) @ classes)


def _parts(
    features: NDArray[Any], logits: NDArray[Any], target: Matrix, classes: Matrix, fold: NDArray[np.intp],
    penalty: float, temperature: float,
) -> tuple[Matrix, Matrix]:  # fmt: skip
    """Both ways' vectors of each image, from the folds that have not seen it."""
    ridge, conse = np.empty_like(target), _conse(logits, classes, temperature)
    for k in np.unique(fold):
        weights, intercept = ridge_regression(features[fold != k], target[fold != k], penalty)
        ridge[fold == k] = features[fold == k] @ weights + intercept
    return unit(ridge), unit(conse - conse.mean(0))
