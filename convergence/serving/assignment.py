"""Which variant a unit gets: a matter of its name alone, so it needs no memory and every server says the same.

Weighted rendezvous hashing: each variant draws a number for the unit, the best one wins. When a variant's share grows,
units only move to it and none moves between the others.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from math import log

from convergence.errors import SettingsError


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
    """One line of an exposure log: who got which variant, when, and how likely that was."""

    experiment: str
    unit: str
    variant: str
    at: str  # ISO 8601, UTC
    shares: dict[str, float]

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def sample_ratio_p(units: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """How likely a split at least this far from the shares is by chance (chi-squared); below 0.001 it is broken.

    Args:
        units: variant -> different units that got it.
        shares: variant -> weight, as they were assigned by.
    """
    from scipy.stats import chisquare

    total = sum(shares.values())
    variants = [v for v, share in shares.items() if share]
    if units.keys() - set(variants):
        return 0.0
    expected = [sum(units.values()) * shares[v] / total for v in variants]
    return float(chisquare([units.get(v, 0) for v in variants], expected).pvalue)


def units_by_variant(exposures: Iterable[Exposure]) -> dict[str, int]:
    """Different units of each variant in an exposure log; one that got two counts for both."""
    seen = {(e.variant, e.unit) for e in exposures}
    return {v: sum(variant == v for variant, _ in seen) for v in sorted({variant for variant, _ in seen})}


def _uniform(text: str) -> float:
    """A number in (0, 1) that the text alone decides."""
    return (int.from_bytes(blake2b(text.encode(), digest_size=7).digest()) + 0.5) / 2**56
