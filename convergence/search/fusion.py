"""One ranking out of a dense and a sparse one, and a relevance by which rankings of several modalities are merged.

Scores are put on one scale by constants that were learned, not by the least and greatest of the query at hand: so a
score means the same in every query, which a calibrated relevance needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import exp, isfinite
from typing import Any

from convergence.errors import SearchError

POOL = 200  # best of each ranking: what is fused


@dataclass(frozen=True)
class Fused:
    """An item with its fused score and the two it came from; None: that list did not have it."""

    item_id: str
    score: float
    dense: float | None
    sparse: float | None


@dataclass(frozen=True)
class Fusion:
    """How one modality's scores are fused.

    Weights are at least 0 and not both 0. A scale is (mean, standard deviation > 0) of a score; the calibration
    (slope >= 0, intercept) of the log odds that an item is relevant, given its fused score.
    Raises SearchError where a number is none of these.
    """

    dense_weight: float
    sparse_weight: float
    dense_scale: tuple[float, float]
    sparse_scale: tuple[float, float]
    calibration: tuple[float, float]

    def __post_init__(self) -> None:
        weights = (self.dense_weight, self.sparse_weight)
        numbers = (*weights, *self.dense_scale, *self.sparse_scale, *self.calibration)
        if not all(map(isfinite, numbers)) or min(weights) < 0 or max(weights) == 0:
            raise SearchError(f"weights {weights} of a fusion must be at least 0 and not both 0: learn it anew")
        if self.dense_scale[1] <= 0 or self.sparse_scale[1] <= 0 or self.calibration[0] < 0:
            raise SearchError("a fusion needs deviations above 0 and a slope of at least 0: learn it anew")

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> "Fusion":
        """The fusion of what `as_json` gave. Raises SearchError where a field is missing or is not of its form."""
        try:
            return cls(
                float(about["dense_weight"]),
                float(about["sparse_weight"]),
                _pair(about["dense_scale"]),
                _pair(about["sparse_scale"]),
                _pair(about["calibration"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SearchError(f"a fusion is not of its form ({type(error).__name__}): learn it anew") from None

    def as_json(self) -> dict[str, Any]:
        """Its numbers, for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def fused(self, dense: Mapping[str, float] | None, sparse: Mapping[str, float] | None) -> list[Fused]:
        """Every item of either list by its fused score, best first, equal ones by item id.

        Args:
            dense: item id -> score; None: not asked, then it adds nothing.
            sparse: the same. An item that only the other list has gets the lowest score that was seen here, and 0
                where nothing was.
        """
        near, said = _scaled(dense, self.dense_scale), _scaled(sparse, self.sparse_scale)
        ranked = [
            Fused(
                item_id,
                self.dense_weight * near(item_id) + self.sparse_weight * said(item_id),
                (dense or {}).get(item_id),
                (sparse or {}).get(item_id),
            )
            for item_id in {**(dense or {}), **(sparse or {})}
        ]
        return sorted(ranked, key=lambda one: (-one.score, one.item_id))

    def relevance(self, score: float) -> float:
        """The probability that an item with this fused score is relevant, in [0, 1]; never falls as the score rises."""
        slope, intercept = self.calibration
        odds = slope * score + intercept
        return 1 / (1 + exp(-odds)) if odds >= 0 else exp(max(odds, -700.0)) / (1 + exp(max(odds, -700.0)))


def _pair(numbers: Any) -> tuple[float, float]:
    first, second = numbers
    return float(first), float(second)


def _scaled(scores: Mapping[str, float] | None, scale: tuple[float, float]) -> Callable[[str], float]:
    if scores is None:
        return lambda item_id: 0.0
    lowest, (mean, deviation) = min(scores.values(), default=0.0), scale
    return lambda item_id: (scores.get(item_id, lowest) - mean) / deviation
