"""Who gets which variant, and whether a split is what it should be."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad

from convergence.errors import SettingsError
from convergence.serving.assignment import Exposure, assign, sample_ratio_p

UNITS = [str(n) for n in range(20_000)]
HALVES = {"a": 0.5, "b": 0.5}


def split(shares: dict[str, float], salt: str = "s") -> dict[str, int]:
    got = [assign(unit, shares, salt=salt) for unit in UNITS]
    return {variant: got.count(variant) for variant in shares}


def exposure(unit: str, variant: str) -> Exposure:
    return Exposure("trial", unit, variant, "2018-08-01T00:00:00+00:00", HALVES, "answered", 0.001, 0.1)


def test_another_process_assigns_alike() -> None:
    code = "from convergence.serving.assignment import assign\n"
    code += "print(*[assign(str(n), {'a': 1, 'b': 2, 'c': 3}, salt='x') for n in range(50)])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == [assign(str(n), {"a": 1, "b": 2, "c": 3}, salt="x") for n in range(50)]


@pytest.mark.parametrize("shares", [HALVES, {"a": 0.05, "b": 0.95}, {"a": 1, "b": 2, "c": 7}], ids=str)
def test_the_split_is_as_the_shares_say(shares: dict[str, float]) -> None:
    assert sample_ratio_p(split(shares), shares) > 0.001


@given(
    unit=st.text(),
    before=st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
    growth=st.floats(1, 100),
)
def test_a_growing_share_only_draws_units_to_itself(unit: str, before: list[float], growth: float) -> None:
    shares = dict(zip("abc", before, strict=True))
    grown = {**shares, "a": shares["a"] * growth}
    assert assign(unit, grown, salt="s") in ("a", assign(unit, shares, salt="s"))


def test_experiments_assign_independently() -> None:
    first, second = ([assign(unit, HALVES, salt=salt) for unit in UNITS] for salt in ("x", "y"))
    both = sum(x == y for x, y in zip(first, second, strict=True))
    assert sample_ratio_p({"a": both, "b": len(UNITS) - both}, HALVES) > 0.001


def test_a_variant_without_share_gets_nobody() -> None:
    assert split({"a": 0.0, "b": 1.0}) == {"a": 0, "b": len(UNITS)}


@pytest.mark.parametrize("shares", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("nan"), "b": 1}], ids=str)
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="expected numbers of at least 0"):
        assign("u", shares, salt="s")


def test_a_broken_split_is_caught() -> None:
    """A server that loses 10 % of one variant's users."""
    found = split(HALVES)
    assert sample_ratio_p({**found, "a": int(found["a"] * 0.9)}, HALVES) < 0.001


def test_a_variant_that_there_should_not_be_is_a_broken_split() -> None:
    assert sample_ratio_p({"a": 50, "b": 50, "c": 1}, HALVES) == 0


def test_a_split_is_called_broken_in_one_of_a_thousand_trials_at_most_however_often_it_is_looked_at() -> None:
    """And so it may be where a guard ends the trial because of what was seen, as a chi-squared test may not."""
    random, shares = np.random.default_rng(3), {"a": 0.05, "b": 0.95}
    treated = (random.random((2_000, 2_000)) < 0.05).cumsum(axis=1)
    ever = 0
    for run in treated:
        alarming = [n for n in range(1, 2_000, 7) if abs(run[n - 1] - n * 0.05) > 2 * (n * 0.0475) ** 0.5]
        ever += any(sample_ratio_p({"a": int(run[n - 1]), "b": n - int(run[n - 1])}, shares) < 0.001 for n in alarming)
    assert ever <= 2


def test_the_split_of_three_variants_is_weighed_as_that_of_two_is() -> None:
    """Against the definition: the mixture of all splits, integrated over the simplex."""
    counts, shares = {"a": 7, "b": 2, "c": 1}, {"a": 0.2, "b": 0.4, "c": 0.4}
    likelihood = dblquad(lambda y, x: x**7 * y**2 * (1 - x - y), 0, 1, 0, lambda x: 1 - x)[0] * 2
    null = 0.2**7 * 0.4**2 * 0.4
    assert sample_ratio_p(counts, shares) == pytest.approx(null / likelihood)


def test_an_exposure_is_one_line() -> None:
    line = exposure("1", "a").to_json()
    assert "\n" not in line
    assert Exposure(**json.loads(line)) == exposure("1", "a")
