"""Which variant a unit gets: a matter of its name alone, so it needs no memory and every server says the same.

Weighted rendezvous hashing: each variant draws a number for the unit, the best one wins. When a variant's share grows,
units only move to it and none moves between the others.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from math import exp, lgamma, log
from typing import Literal

from convergence.errors import SettingsError

Outcome = Literal["answered", "failed", "invalid"]


def assign(unit: str, shares: Mapping[str, float], *, salt: str) -> str:
    """The variant of a unit.

    Args:
        unit: what is assigned as a whole, e.g. a transaction or a customer.
        shares: variant -> weight, at least 0, of any sum.
        salt: name of the experiment; another one assigns independently.

    Raises:
        SettingsError: a weight is negative or no number, or none is positive.
    """
    if not all(0 <= share < float("inf") for share in shares.values()) or not any(shares.values()):
        raise SettingsError(f"shares of {salt}: expected numbers of at least 0, one above 0; found {dict(shares)}")
    draws = {v: -log(_uniform(f"{salt}|{v}|{unit}")) / share for v, share in shares.items() if share}
    return min(draws, key=lambda variant: (draws[variant], variant))


@dataclass(frozen=True)
class Exposure:
    """One line of an exposure log: who got which variant, when, how likely that was, and what came of it."""

    experiment: str
    unit: str
    variant: str
    at: str  # ISO 8601, UTC
    shares: dict[str, float]
    outcome: Outcome
    seconds: float
    score: float | None  # of the first row; None where there is no valid one

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def sample_ratio_p(units: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """How likely a split this far from the shares is by chance; below 0.001 it is broken.

    Valid whenever it is looked at, also where the trial ended because of what was seen: the likelihood under a uniform
    mixture of other splits against that of the shares is a martingale (Lindon and Malek, as in `sequential.py`). A
    chi-squared test would call the split of one in fifty canaries broken that a guard ended early.

    Args:
        units: variant -> different units that got it.
        shares: variant -> weight, as they were assigned by.
    """
    total = sum(shares.values())
    weights = {v: share / total for v, share in shares.items() if share}
    if any(count and variant not in weights for variant, count in units.items()):
        return 0.0
    counts = {v: units.get(v, 0) for v in weights}
    mixture = lgamma(len(weights)) + sum(lgamma(n + 1) for n in counts.values())
    mixture -= lgamma(sum(counts.values()) + len(weights))
    evidence = mixture - sum(n * log(weights[v]) for v, n in counts.items())
    return exp(min(0.0, -evidence))


def _uniform(text: str) -> float:
    """A number in (0, 1) that the text alone decides."""
    return (int.from_bytes(blake2b(text.encode(), digest_size=7).digest()) + 0.5) / 2**56
