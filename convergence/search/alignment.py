"""Images are brought into the space of a text encoder, from their captions and the names of the classes they show.

Two ways are mixed: the class names' vectors weighted by their probability (ConSE, Norouzi et al. 2014), which needs no
captions, and a ridge regression from features to captions. How, is chosen on the training images alone.

MiniLM has itself read captions of COCO in its training: what is measured on COCO's captions is new to the image's side,
not to the text's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from convergence.search.judgements import ranks

Matrix = NDArray[np.float64]
PENALTIES = (1.0, 3.0, 10.0)  # of the ridge, in units of a feature's variance
TEMPERATURES = (0.7, 1.0, 1.5)  # of the logits
SHARES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the ridge in the mix; the rest is ConSE's


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
        queries, wanted = flat(captions)
        target, fold = targets(captions), folds(len(features), seed)

        @cache
        def ridge(unseen: frozenset[int], penalty: float) -> Matrix:
            out = np.isin(fold, list(unseen))
            weights, intercept = ridge_regression(features[~out], target[~out], penalty)
            return unit(features[out] @ weights + intercept)

        @cache
        def conse(unseen: frozenset[int], temperature: float) -> Matrix:
            out, found = np.isin(fold, list(unseen)), _conse(logits, classes, temperature)
            return unit(found[out] - found[~out].mean(0))

        def quality(penalty: float, temperature: float, share: float) -> float:
            scores = unseen_scores(
                lambda out: unit(share * ridge(out, penalty) + (1 - share) * conse(out, temperature)),
                queries, wanted, fold,
            )  # fmt: skip
            return float((1 / (1 + ranks(scores, wanted))).mean())

        penalties = PENALTIES if max(shares) else PENALTIES[:1]  # what has no share has nothing to choose
        temperatures = TEMPERATURES if min(shares) < 1 else TEMPERATURES[:1]
        choices = product(penalties, temperatures, shares)
        penalty, temperature, share = max(choices, key=lambda choice: quality(*choice))
        weights, intercept = ridge_regression(features, target, penalty)
        classes = np.asarray(classes, np.float64)
        centre = _conse(logits, classes, temperature).mean(0)
        return cls(weights, intercept, classes, centre, temperature, share, penalty)


def out_of_fold(
    features: NDArray[Any], logits: NDArray[Any], captions: Sequence[NDArray[Any]], classes: NDArray[Any], *,
    shares: Sequence[float] = SHARES, seed: int = 1, count: int = 10,
) -> NDArray[np.float64]:  # fmt: skip
    """Scores (m, n) of all images for all captions, each from an alignment that has seen neither of the two images.

    It is what recall is measured on. Arguments as `Alignment.fit`, and how many folds; captions in the order of `flat`.
    """
    fold = folds(len(features), seed, count)

    def vectors(unseen: frozenset[int]) -> Matrix:
        out = np.isin(fold, list(unseen))
        own = [captions[i] for i in np.flatnonzero(~out).tolist()]
        return Alignment.fit(features[~out], logits[~out], own, classes, shares=shares).vectors(
            features[out], logits[out]
        )

    return unseen_scores(vectors, *flat(captions), fold)


def unseen_scores(
    vectors: Callable[[frozenset[int]], Matrix], queries: Matrix, wanted: NDArray[np.integer], fold: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Scores (m, n) of n images for m queries, each by a model that has seen neither of the two images.

    Were an image embedded by a model that has only not seen this image, it could have been drawn towards the very
    caption that is asked for, which is another image's: neighbours would win with what they were taught of the answer.
    Each model leaves out two folds, also where both images are of one, so that none comes from a better taught model.

    Args:
        vectors: for two folds, the vectors of their images, in order, from a model fitted to the others.
        queries: (m, d).
        wanted: (m,), the image of each query.
        fold: (n,), of each image, from 0 without gaps.
    """
    scores, count = np.empty((len(queries), len(fold))), int(fold.max()) + 1
    for pair in combinations(range(count), 2):
        found = np.zeros((len(fold), queries.shape[1]))
        found[np.isin(fold, pair)] = vectors(frozenset(pair))
        for asked, other in (pair, pair[::-1]):
            rows = np.flatnonzero(fold[wanted] == asked)
            columns = np.flatnonzero((fold == other) | ((fold == asked) & (other == (asked + 1) % count)))
            scores[np.ix_(rows, columns)] = queries[rows] @ found[columns].T
    return scores


def flat(captions: Sequence[NDArray[Any]]) -> tuple[Matrix, NDArray[np.intp]]:
    """All captions (m, d) in order, and the image (m,) of each."""
    return np.concatenate(list(captions)).astype(np.float64), np.repeat(
        np.arange(len(captions)), list(map(len, captions))
    )


def ridge_regression(features: NDArray[Any], target: Matrix, penalty: float) -> tuple[Matrix, Matrix]:
    """Weights (f, d) and intercept (d,) from features (n, f), standardised, to a target (n, d)."""
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64) + 1e-6
    scaled = (features - mean) / deviation
    gram = scaled @ scaled.T / scaled.shape[1] + penalty * np.eye(len(scaled))
    weights = scaled.T / scaled.shape[1] @ np.linalg.solve(gram, target - target.mean(0)) / deviation[:, None]
    return weights, target.mean(0) - mean @ weights


def targets(captions: Sequence[NDArray[Any]]) -> Matrix:
    """Per image, the mean of its captions' vectors, of length one."""
    return unit(np.stack([vectors.mean(axis=0, dtype=np.float64) for vectors in captions]))


def folds(images: int, seed: int, count: int = 5) -> NDArray[np.intp]:
    """Which fold each image is in."""
    return np.random.default_rng(seed).permutation(images) % count


def unit(vectors: Matrix) -> Matrix:
    """Rows brought to length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _conse(logits: NDArray[Any], classes: Matrix, temperature: float) -> Matrix:
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    probabilities = np.exp(scaled, dtype=np.float64)
    return unit(probabilities / probabilities.sum(axis=1, keepdims=True) @ classes)
