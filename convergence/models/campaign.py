"""Whom to make an offer: the list that is worth most under a budget, by expected value and stated assumptions.

What a contact can cost at most is what it takes from the budget, so that the budget holds whoever accepts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from convergence.errors import ConvergenceError

CENTS = 100
LARGEST = 200_000_000  # rows times cents of the budget that the exact optimum is searched in


@dataclass(frozen=True)
class Assumptions:
    """What a retention offer does and costs. None of it is in the data: change it, and see `sensitivity`."""

    success_rate: float = 0.25  # of those who would leave, the share that the offer keeps
    kept_months: float = 12.0  # that a customer who is kept stays longer
    margin: float = 0.5  # share of the charges that is left after the cost of service
    contact_cost: float = 5.0  # USD for each customer on the list
    incentive_months: float = 0.5  # of charges, given to whoever takes the offer
    taken_by_loyal: float = 0.6  # of those who would have stayed anyway, the share that takes the offer

    def gain(self, leaves: ArrayLike, monthly_charges: ArrayLike) -> NDArray[np.float64]:
        """Expected gain of contacting each of n customers, in USD, from the probability that each leaves.

        With 0 and 1 in place of probabilities it is the gain of having contacted who stayed and who left.
        """
        probability, charges = (np.asarray(values, np.float64) for values in (leaves, monthly_charges))
        kept = probability * self.success_rate
        taken = kept + (1 - probability) * self.taken_by_loyal
        return (
            kept * self.value(charges) - taken * self.incentive_months * charges - self.contact_cost
        )  # fmt: skip

    def value(self, monthly_charges: ArrayLike) -> NDArray[np.float64]:
        """Value at stake with each of n customers, in USD: what the months bring that a kept customer stays longer."""
        return self.margin * self.kept_months * np.asarray(monthly_charges, np.float64)

    def most(self, monthly_charges: ArrayLike) -> NDArray[np.float64]:
        """What contacting each of n customers costs at most, in USD, whole cents rounded up."""
        cost = self.contact_cost + self.incentive_months * np.asarray(monthly_charges, np.float64)
        return np.ceil((cost * CENTS).round(6)) / CENTS


def targets(gain: ArrayLike, cost: ArrayLike, budget: float) -> NDArray[np.bool_]:
    """Which of n customers to contact: the greatest total gain whose total cost is within the budget, exactly.

    The 0/1 knapsack by dynamic programming over cents; who gains nothing is never contacted. Equal inputs
    give the same list, also where several are worth the same.

    Args:
        gain: n finite values.
        cost: n positive values in whole cents.
        budget: not negative, in the currency of `cost`.

    Raises:
        ConvergenceError: a cost is not positive, the budget is negative or not finite, or both together are too large
            for the search.
    """
    if not 0 <= budget < 2**53 / CENTS:  # also NaN, which compares with nothing
        raise ConvergenceError(f"expected a budget of 0 or more whose cents can be counted, found {budget:g}")
    gains, costs = np.asarray(gain, np.float64), np.rint(np.asarray(cost, np.float64) * CENTS).astype(np.int64)
    room = int(np.floor(round(budget * CENTS, 6)))
    if (costs <= 0).any() or not np.isfinite(gains).all():
        unusable = int((~np.isfinite(gains)).sum())
        raise ConvergenceError(
            f"expected finite gains and costs of a cent or more; found {unusable} gains that are not finite and "
            f"{int((costs <= 0).sum())} costs below a cent"
        )
    chosen = np.zeros(len(gains), np.bool_)
    worth = np.flatnonzero((gains > 0) & (costs <= room))
    if costs[worth].sum() <= room:
        chosen[worth] = True
        return chosen
    if len(worth) * room > LARGEST:
        raise ConvergenceError(
            f"{len(worth)} customers and a budget of {budget:,.2f} are too many for an exact list: expected at most "
            f"{LARGEST:,} customers times cents; choose day by day, or from fewer customers"
        )
    best = np.zeros(room + 1)
    taken = np.zeros((len(worth), room + 1), np.bool_)
    for place, row in enumerate(worth):
        with_it = np.full(room + 1, -np.inf)
        with_it[costs[row] :] = best[: room + 1 - costs[row]] + gains[row]
        taken[place] = with_it > best
        best = np.maximum(best, with_it)
    left = room
    for place in range(len(worth) - 1, -1, -1):
        if taken[place, left]:
            chosen[worth[place]] = True
            left -= costs[worth[place]]
    return chosen


def curve(
    score: ArrayLike,
    leaves: ArrayLike,
    monthly_charges: ArrayLike,
    assumptions: Assumptions,
    shares: Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
) -> pl.DataFrame:
    """What contacting the share of customers with the greatest expected gain would have brought.

    Args:
        score: n probabilities of leaving, which order the customers by expected gain.
        leaves: n values: who left (0/1), for the gain that came true; probabilities for the expected one.
        monthly_charges: n values in USD.
        assumptions: of the offer.
        shares: of the customers, in (0, 1].

    Returns:
        `share`, `contacted` (Int64), `lift` (share that left among them, relative to all), `captured` (share of those
        that left), `gain` and `cost` at most, in USD: a row per share.
    """
    left, charges = np.asarray(leaves, np.float64), np.asarray(monthly_charges, np.float64)
    order = np.argsort(-assumptions.gain(score, charges), kind="stable")
    counts = np.array([max(1, round(share * len(order))) for share in shares])
    summed = {
        "left": np.cumsum(left[order])[counts - 1],
        "gain": np.cumsum(assumptions.gain(left, charges)[order])[counts - 1],
        "cost": np.cumsum(assumptions.most(charges)[order])[counts - 1],
    }
    return pl.DataFrame(
        {
            "share": [float(share) for share in shares],
            "contacted": counts,
            "lift": summed["left"] / counts / left.mean(),
            "captured": summed["left"] / left.sum(),
            "gain": summed["gain"].round(2),
            "cost": summed["cost"].round(2),
        }
    )


def sensitivity(
    score: ArrayLike, monthly_charges: ArrayLike, assumptions: Assumptions, budget: float, change: float = 0.5
) -> pl.DataFrame:
    """The list under each assumption lowered and raised by a share of itself, all others as they are.

    Returns:
        `assumption`, `value`, `contacted`, `gain` (expected, USD), `cost` (at most, USD) and `same` (share of the list
        as assumed that is still on it): first the list as assumed, then two rows per assumption.
    """

    def chosen(assumed: Assumptions) -> NDArray[np.bool_]:
        return targets(assumed.gain(score, monthly_charges), assumed.most(monthly_charges), budget)

    def row(name: str, value: float | None, assumed: Assumptions) -> dict[str, str | float | int | None]:
        now = chosen(assumed)
        return {
            "assumption": name,
            "value": value,
            "contacted": int(now.sum()),
            "gain": round(float(assumed.gain(score, monthly_charges)[now].sum()), 2),
            "cost": round(float(assumed.most(monthly_charges)[now].sum()), 2),
            "same": float((now & base).sum() / base.sum()) if base.any() else None,
        }

    base = chosen(assumptions)
    varied = [
        row(name, value * factor, replace(assumptions, **{name: value * factor}))
        for name, value in asdict(assumptions).items()
        for factor in (1 - change, 1 + change)
    ]
    return pl.DataFrame([row("as assumed", None, assumptions), *varied], infer_schema_length=None)
