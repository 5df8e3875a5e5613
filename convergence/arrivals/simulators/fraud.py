"""Card transactions with three fraud scenarios, as published with the Fraud Detection Handbook.

Every day draws from its own random stream, so a day is the same however many days are simulated after it.
"""

from datetime import date, datetime
from math import floor
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ConvergenceError

SCHEMA = pl.Schema(
    {
        "TRANSACTION_ID": pl.Int32(),
        "TX_DATETIME": pl.Datetime("us"),
        "CUSTOMER_ID": pl.Int32(),
        "TERMINAL_ID": pl.Int32(),
        "TX_AMOUNT": pl.Float64(),
        "TX_TIME_SECONDS": pl.Int32(),
        "TX_TIME_DAYS": pl.Int16(),
        "TX_FRAUD": pl.Int8(),
        "TX_FRAUD_SCENARIO": pl.Int8(),
    }
)
DAY_SECONDS = 86_400
GRID = 100.0
LARGE_AMOUNT = 220.0
TERMINAL_FRAUD_DAYS = 28
CUSTOMER_FRAUD_DAYS = 14
# Second word of each random stream's seed; the third is the day.
PROFILES, TRANSACTIONS, COMPROMISED_TERMINALS, COMPROMISED_CUSTOMERS = range(4)


class _Customers(NamedTuple):
    mean_amount: NDArray[np.float64]
    transactions_per_day: NDArray[np.float64]
    # Customer c may use the terminals reachable[first[c] : first[c] + number[c]].
    reachable: NDArray[np.int64]
    first: NDArray[np.int64]
    number: NDArray[np.int64]


def simulate(
    *,
    customers: int = 5000,
    terminals: int = 10_000,
    start: date = date(2018, 4, 1),
    days: int = 153,
    radius: float = 5.0,
    seed: int = 0,
    compromised_terminals: float = 2.0,
    compromised_customers: float = 3.0,
) -> pl.DataFrame:
    """Simulate card transactions with the schema of the published data.

    Source: Fraud Detection Handbook (Le Borgne et al., ULB), chapter 3, "Transaction data simulator". Differences:
    another random generator; the last day has newly compromised cards and terminals too; and a compromised card's
    third is taken over its whole 14 days even when the simulation ends before, so that days do not depend on `days`.

    Args:
        customers: number of cards, placed on a grid of 100 by 100.
        terminals: number of terminals on the same grid.
        start: first day.
        days: number of days.
        radius: distance within which a customer uses terminals, in grid units.
        seed: not negative; equal arguments give equal frames.
        compromised_terminals: newly compromised terminals per day for each 10,000 terminals (scenario 2, 28 days).
        compromised_customers: newly compromised cards per day for each 5,000 customers (scenario 3, 14 days).
            Fractions are spread evenly over days, so that small worlds keep the published fraud rate.

    Returns:
        Transactions with the columns of SCHEMA in order of time: TX_AMOUNT with 2 decimals, TX_TIME_SECONDS and
        TX_TIME_DAYS since `start`, TX_FRAUD_SCENARIO 0 for genuine, 1 amount above 220, 2 compromised terminal,
        3 compromised card (amount times 5). A later scenario replaces an earlier one.

    Raises:
        ConvergenceError: a size is not positive, a rate or the seed is negative, more are compromised per day than
            exist, or no customer has a terminal within the radius.
    """
    terminal_rate, customer_rate = compromised_terminals * terminals / 10_000, compromised_customers * customers / 5000
    if min(customers, terminals, days) < 1 or seed < 0 or radius <= 0:
        msg = (
            f"expected positive customers, terminals, days and radius and a seed of at least 0; found {customers=}, "
            f"{terminals=}, {days=}, {radius=}, {seed=}"
        )
        raise ConvergenceError(msg)
    if not (0 <= terminal_rate <= terminals and 0 <= customer_rate <= customers):
        msg = (
            f"expected compromised_terminals in [0, 10000] and compromised_customers in [0, 5000]; found "
            f"{compromised_terminals} and {compromised_customers}"
        )
        raise ConvergenceError(msg)
    profiles = _profiles(_stream(seed, PROFILES, 0), customers, terminals, radius)
    # Beyond the end, because the cards compromised last have their frauds among the transactions of 14 days.
    simulated_days = days + CUSTOMER_FRAUD_DAYS - 1
    by_day = [_transactions(_stream(seed, TRANSACTIONS, day), profiles) for day in range(simulated_days)]
    bounds = np.concatenate([[0], np.cumsum([len(second) for second, *_ in by_day])])
    second, customer, terminal, amount = (np.concatenate(column) for column in zip(*by_day, strict=True))
    scenario = np.where(amount > LARGE_AMOUNT, 1, 0)

    for day in range(days):
        chosen = _compromised(_stream(seed, COMPROMISED_TERMINALS, day), terminals, terminal_rate, day)
        window = slice(bounds[day], bounds[min(day + TERMINAL_FRAUD_DAYS, simulated_days)])
        scenario[window][np.isin(terminal[window], chosen)] = 2
    for day in range(days):
        random = _stream(seed, COMPROMISED_CUSTOMERS, day)
        chosen = _compromised(random, customers, customer_rate, day)
        window = slice(bounds[day], bounds[day + CUSTOMER_FRAUD_DAYS])
        candidates = bounds[day] + np.flatnonzero(np.isin(customer[window], chosen))
        frauds = random.choice(candidates, size=len(candidates) // 3, replace=False)
        amount[frauds] *= 5
        scenario[frauds] = 3

    rows = slice(0, bounds[days])
    day_number = np.repeat(np.arange(days), np.diff(bounds)[:days])
    seconds = second[rows] + day_number * DAY_SECONDS
    frame = pl.DataFrame(
        {
            "TRANSACTION_ID": np.arange(bounds[days]),
            "TX_DATETIME": seconds,
            "CUSTOMER_ID": customer[rows],
            "TERMINAL_ID": terminal[rows],
            "TX_AMOUNT": np.round(amount[rows], 2),
            "TX_TIME_SECONDS": seconds,
            "TX_TIME_DAYS": day_number,
            "TX_FRAUD": scenario[rows] > 0,
            "TX_FRAUD_SCENARIO": scenario[rows],
        }
    )
    midnight = datetime.combine(start, datetime.min.time())
    return frame.with_columns(TX_DATETIME=midnight + pl.duration(seconds="TX_DATETIME")).cast(SCHEMA)


def _stream(seed: int, purpose: int, day: int) -> np.random.Generator:
    return np.random.default_rng((seed, purpose, day))


def _profiles(random: np.random.Generator, customers: int, terminals: int, radius: float) -> _Customers:
    home = random.uniform(0, GRID, size=(customers, 2))
    mean_amount = random.uniform(5, 100, size=customers)
    per_day = random.uniform(0, 4, size=customers)
    place = random.uniform(0, GRID, size=(terminals, 2))
    # A few hundred customers at a time: all distances at once would take gigabytes.
    reachable = [
        np.flatnonzero(near)
        for block in np.array_split(home, -(-customers // 250))
        for near in ((block[:, None, :] - place) ** 2).sum(axis=2) < radius**2
    ]
    number = np.array([len(near) for near in reachable])
    if not number.any():
        msg = f"no customer has a terminal within {radius}; expected some; use more terminals or a larger radius"
        raise ConvergenceError(msg)
    first = np.cumsum(number) - number
    return _Customers(mean_amount, np.where(number > 0, per_day, 0.0), np.concatenate(reachable), first, number)


def _transactions(random: np.random.Generator, customers: _Customers) -> tuple[NDArray[Any], ...]:
    """One day's second, customer, terminal and amount, in order of time."""
    count = random.poisson(customers.transactions_per_day)
    customer = np.repeat(np.arange(len(count)), count)
    second = random.normal(DAY_SECONDS / 2, 20_000, size=len(customer)).astype(np.int64)
    # As in the Handbook, a time outside the day is dropped and not drawn again: about 3 % of the transactions.
    inside = (second > 0) & (second < DAY_SECONDS)
    customer, second = customer[inside], second[inside]
    mean = customers.mean_amount[customer]
    amount = random.normal(mean, mean / 2)
    negative = amount < 0
    amount[negative] = random.uniform(0, 2 * mean[negative])
    pick = (random.random(len(customer)) * customers.number[customer]).astype(np.int64)
    terminal = customers.reachable[customers.first[customer] + pick]
    order = np.argsort(second, kind="stable")
    return second[order], customer[order], terminal[order], np.round(amount[order], 2)


def _compromised(random: np.random.Generator, population: int, rate: float, day: int) -> NDArray[np.int64]:
    """Members newly compromised on a day; a fractional rate is met on average, evenly over days."""
    number = floor(rate * (day + 1) + 0.5) - floor(rate * day + 0.5)
    return random.choice(population, size=number, replace=False)
