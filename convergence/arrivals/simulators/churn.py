"""Customers of a telephone and internet company, some of whom leave: stands in where the published Telco data is not.

What leaving depends on (contract, tenure, internet, payment, services) is stated as log odds, chosen so that shares by
contract and internet are near the published ones; a logistic regression ranks them with an AUC of 0.856 (published
rows: 0.843).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ConvergenceError

SCHEMA = pl.Schema(
    {
        "customerID": pl.String(),
        "gender": pl.String(),
        "SeniorCitizen": pl.Int64(),
        "Partner": pl.String(),
        "Dependents": pl.String(),
        "tenure": pl.Int64(),
        "PhoneService": pl.String(),
        "MultipleLines": pl.String(),
        "InternetService": pl.String(),
        "OnlineSecurity": pl.String(),
        "OnlineBackup": pl.String(),
        "DeviceProtection": pl.String(),
        "TechSupport": pl.String(),
        "StreamingTV": pl.String(),
        "StreamingMovies": pl.String(),
        "Contract": pl.String(),
        "PaperlessBilling": pl.String(),
        "PaymentMethod": pl.String(),
        "MonthlyCharges": pl.Float64(),
        "TotalCharges": pl.String(),
        "Churn": pl.String(),
    }
)
LONGEST = 72  # months
NEW_SHARE = 11 / 7043  # in their first month: nothing charged yet, TotalCharges is blank
CONTRACTS = ("Month-to-month", "One year", "Two year")
INTERNET = ("DSL", "Fiber optic", "No")
PAYMENTS = ("Electronic check", "Mailed check", "Bank transfer (automatic)", "Credit card (automatic)")
# Share of internet customers that have it with a tenure of 0, and what 72 months add; monthly price.
ADD_ONS = {
    "OnlineSecurity": (0.20, 0.30, 5.0),
    "OnlineBackup": (0.23, 0.42, 5.0),
    "DeviceProtection": (0.20, 0.48, 5.0),
    "TechSupport": (0.18, 0.34, 5.0),
    "StreamingTV": (0.32, 0.35, 10.0),
    "StreamingMovies": (0.32, 0.36, 10.0),
}


def simulate(customers: int = 7043, seed: int = 0) -> pl.DataFrame:
    """Simulate customers with the schema of the published data (IBM's sample "Telco Customer Churn").

    Args:
        customers: number of rows, at least 1.
        seed: not negative; equal arguments give equal frames.

    Returns:
        A row per customer with the columns of SCHEMA: tenure in months, charges in USD, TotalCharges as text with a
        blank for those of tenure 0, Churn "Yes" or "No". As published, 11 of 7,043 are new, and none of these leaves.

    Raises:
        ConvergenceError: fewer than one customer, or a negative seed.
    """
    if customers < 1 or seed < 0:
        raise ConvergenceError(
            f"expected at least 1 customer and a seed of at least 0; found customers={customers}, seed={seed}"
        )
    draw = np.random.default_rng(seed)
    n = customers
    contract = draw.choice(3, n, p=[0.55, 0.21, 0.24])
    tenure = _tenure(draw, contract)
    tenure[draw.permutation(n)[: round(NEW_SHARE * n)]] = 0
    long = tenure / LONGEST
    internet = draw.choice(3, n, p=[0.34, 0.44, 0.22])
    online = internet != 2
    phone = (internet != 0) | (draw.random(n) < 0.72)
    lines = phone & (draw.random(n) < 0.25 + 0.45 * long)
    services = {name: online & (draw.random(n) < low + rise * long) for name, (low, rise, _) in ADD_ONS.items()}
    senior = draw.random(n) < np.where(internet == 1, 0.27, 0.08)
    partner = draw.random(n) < 0.3 + 0.45 * long
    dependents = draw.random(n) < np.where(senior, 0.08, np.where(partner, 0.56, 0.1))
    paperless = draw.random(n) < np.array([0.55, 0.77, 0.29])[internet]
    payment = np.where(draw.random(n) < np.where(internet == 1, 0.5, 0.2), 0, draw.integers(1, 4, n))
    price = np.array([25.0, 50.0, 0.0])[internet] + 20.0 * phone + 5.0 * lines + draw.normal(0, 0.6, n)
    monthly = (price + sum(cost * services[name] for name, (_, _, cost) in ADD_ONS.items())).round(2)
    total = (monthly * tenure * draw.normal(1, 0.04, n).clip(0.85, 1.15)).round(2)
    log_odds = (
        0.75
        - 0.75 * np.log1p(tenure)
        + np.array([0.0, -1.0, -2.3])[contract]
        + np.array([0.0, 1.15, -0.9])[internet]
        + np.array([0.4, 0.0, 0.0, -0.1])[payment]
        + 0.35 * paperless
        + 0.25 * senior
        - 0.15 * dependents
        + 0.3 * lines
        + 0.3 * (services["StreamingTV"].astype(float) + services["StreamingMovies"])
        - 0.4 * (services["OnlineSecurity"].astype(float) + services["TechSupport"])
    )
    leaves = (draw.random(n) < 1 / (1 + np.exp(-log_odds))) & (tenure > 0)
    names = {
        "customerID": _identifiers(draw, n),
        "gender": _named(draw.integers(0, 2, n), ("Female", "Male")),
        "SeniorCitizen": senior.astype(np.int64),
        "Partner": _yes(partner),
        "Dependents": _yes(dependents),
        "tenure": tenure,
        "PhoneService": _yes(phone),
        "MultipleLines": _yes(lines, phone, "No phone service"),
        "InternetService": _named(internet, INTERNET),
        **{name: _yes(has, online, "No internet service") for name, has in services.items()},
        "Contract": _named(contract, CONTRACTS),
        "PaperlessBilling": _yes(paperless),
        "PaymentMethod": _named(payment, PAYMENTS),
        "MonthlyCharges": monthly,
        "TotalCharges": [f"{t:g}" if m else " " for t, m in zip(total.tolist(), tenure.tolist(), strict=True)],
        "Churn": _yes(leaves),
    }
    return pl.DataFrame(names, schema=SCHEMA)


def _tenure(draw: np.random.Generator, contract: NDArray[np.int64]) -> NDArray[np.int64]:
    """Months, at least 1: those without a contract are mostly new, those with two years mostly old."""
    first, second = np.array([0.55, 1.9, 2.6])[contract], np.array([1.45, 1.4, 0.75])[contract]
    return 1 + np.floor(draw.beta(first, second) * LONGEST).astype(np.int64).clip(0, LONGEST - 1)


def _identifiers(draw: np.random.Generator, n: int) -> list[str]:
    """Four digits and five letters each, as published; no two alike."""
    numbers = draw.choice(9_000 * 26**4, n, replace=False)
    letters = [[chr(ord("A") + value // 26**place % 26) for place in range(4)] for value in numbers.tolist()]
    return [f"{1000 + v // 26**4}-{''.join(part)}X" for v, part in zip(numbers.tolist(), letters, strict=True)]


def _named(codes: NDArray[np.int64], names: tuple[str, ...]) -> list[str]:
    return [names[code] for code in codes]


def _yes(holds: NDArray[np.bool_], applies: NDArray[np.bool_] | None = None, otherwise: str = "") -> list[str]:
    words = np.where(holds, "Yes", "No")
    return (words if applies is None else np.where(applies, words, otherwise)).tolist()
