"""The list of a campaign: the best there is within the budget, by assumptions that are stated."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import ConvergenceError
from convergence.models import campaign
from convergence.models.campaign import Assumptions

MONEY = st.integers(1, 3000).map(lambda cents: cents / 100)
CUSTOMER = st.tuples(st.floats(-20, 60, allow_nan=False), MONEY)


@settings(max_examples=150, deadline=None)
@given(st.lists(CUSTOMER, min_size=1, max_size=9), st.integers(0, 10_000).map(lambda cents: cents / 100))
def test_no_list_within_the_budget_is_worth_more(customers: list[tuple[float, float]], budget: float) -> None:
    gain, cost = (np.array(values) for values in zip(*customers, strict=True))
    cents, room = np.rint(cost * 100).astype(int), round(budget * 100)
    every = [np.array(which) for which in product((False, True), repeat=len(gain))]
    best = max(gain[which].sum() for which in every if cents[which].sum() <= room)
    chosen = campaign.targets(gain, cost, budget)
    assert cents[chosen].sum() <= room
    assert gain[chosen].sum() == pytest.approx(best, abs=1e-9)
    assert (gain[chosen] > 0).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(CUSTOMER, min_size=1, max_size=30), MONEY, MONEY)
def test_a_larger_budget_never_brings_less(customers: list[tuple[float, float]], less: float, more: float) -> None:
    gain, cost = (np.array(values) for values in zip(*customers, strict=True))
    small, large = (gain[campaign.targets(gain, cost, b)].sum() for b in (less, less + more))
    assert large >= small - 1e-9


def test_the_best_list_is_not_the_greedy_one() -> None:
    gain, cost = [60.0, 50.0, 50.0], [6.0, 5.0, 5.0]
    assert campaign.targets(gain, cost, 10.0).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("gain", "cost", "budget"),
    [
        ([1.0], [0.0], 5.0),
        ([1.0], [1.0], -1.0),
        ([float("nan")], [1.0], 1.0),
        ([1.0], [1.0], float("nan")),
        ([1.0], [1.0], float("inf")),
    ],
    ids=["free", "debt", "nan", "budget-nan", "budget-inf"],
)
def test_impossible_amounts_are_refused(gain: list[float], cost: list[float], budget: float) -> None:
    with pytest.raises(ConvergenceError, match=r"expected (finite gains|a budget of 0 or more)"):
        campaign.targets(gain, cost, budget)


def test_more_than_can_be_searched_is_refused_in_words() -> None:
    with pytest.raises(ConvergenceError, match="choose day by day"):
        campaign.targets(np.ones(100_000), np.full(100_000, 10.0), 50_000.0)


def test_the_expected_gain_is_the_mean_over_what_may_come_true() -> None:
    """Draws who leaves, who is kept and who takes the offer, and pays out."""
    assumed, charges, score, draw = Assumptions(), 80.0, 0.4, np.random.default_rng(0)
    n = 400_000
    leaves = draw.random(n) < score
    kept = leaves & (draw.random(n) < assumed.success_rate)
    takes = kept | (~leaves & (draw.random(n) < assumed.taken_by_loyal))
    paid = (
        kept * assumed.kept_months * assumed.margin * charges
        - takes * assumed.incentive_months * charges
        - assumed.contact_cost
    )
    assert assumed.gain([score], [charges])[0] == pytest.approx(paid.mean(), abs=4 * paid.std() / n**0.5)


def test_nobody_costs_more_than_was_set_aside() -> None:
    charges = np.array([18.25, 70.01, 118.75])
    most = Assumptions().most(charges)
    assert (most >= 5.0 + 0.5 * charges).all()
    assert (most - (5.0 + 0.5 * charges) < 0.0100001).all()
    assert np.rint(most * 100) == pytest.approx(most * 100)


def test_the_curve_of_all_customers_is_that_of_a_mass_mailing() -> None:
    draw = np.random.default_rng(1)
    score, charges = draw.random(200), draw.uniform(20, 110, 200)
    left = draw.random(200) < score
    found = campaign.curve(score, left, charges, Assumptions(), shares=(0.1, 1.0))
    assert found["lift"][1] == pytest.approx(1.0)
    assert found["captured"][1] == pytest.approx(1.0)
    assert found["gain"][1] == pytest.approx(Assumptions().gain(left, charges).sum(), abs=0.01)
    assert found["lift"][0] > 1.3
    assert found["contacted"].to_list() == [20, 200]


def test_the_sensitivity_says_how_much_of_the_list_an_assumption_decides() -> None:
    draw = np.random.default_rng(2)
    score, charges = draw.random(60), draw.uniform(20, 110, 60).round(2)
    found = campaign.sensitivity(score, charges, Assumptions(), 400.0)
    assert found.height == 1 + 2 * 6
    assert found["same"][0] == 1.0
    assert (found["cost"] <= 400).all()
    by = {(a, v): g for a, v, g in found.select("assumption", "value", "gain").iter_rows()}
    assert by["success_rate", 0.125] < by["as assumed", None] < by["success_rate", 0.375]
    assert by["contact_cost", 7.5] < by["as assumed", None] < by["contact_cost", 2.5]
