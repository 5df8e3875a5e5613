"""Reasons add up to the log odds of the trees and are given in words, the strongest first."""

import json
from functools import cache
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import polars as pl
import pytest
import xgboost

from convergence.errors import ModelError
from convergence.models import boosting
from convergence.models.explanation import Explained, explain, in_words, summary, top

WORDS = {"amount": "Amount paid", "risk": "Share of fraud at the terminal"}


def rows(count: int = 600, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {"amount": random.normal(size=count), "risk": random.random(count), "night": random.random(count) < 0.3}
    )
    return frame.with_columns(risk=pl.when(pl.col("risk") > 0.1).then("risk"))


@cache
def model() -> str:
    features = rows()
    label = (features["amount"] + 3 * features["risk"].fill_null(1) > 1.5).rename("label")
    return boosting.fit(features, label, rounds=10, params={"max_depth": 3})


def test_contributions_and_base_add_up_to_the_log_odds() -> None:
    explained = explain(model(), rows(seed=1))
    margins = boosting.Trees(model()).margins(boosting.values_of(rows(seed=1)))
    np.testing.assert_allclose(explained.contributions.sum(axis=1) + explained.base, margins, atol=1e-4)
    assert explained.error.max() <= 1e-4


def test_contributions_are_shapley_values_of_the_trees() -> None:
    """Against the definition: all orders of features, a missing one averaged over the trees' own covers."""
    loaded = xgboost.Booster()
    loaded.load_model(bytearray(model().encode()))
    trees = loaded.get_dump(dump_format="json", with_stats=True)
    row = rows(seed=2).row(0, named=True)
    names = ["amount", "risk", "night"]

    def expected(known: frozenset[str]) -> float:
        return sum(_average(json.loads(tree), row, known) for tree in trees)

    found = explain(model(), rows(seed=2)).contributions[0]
    for place, name in enumerate(names):
        others = [other for other in names if other != name]
        value = 0.0
        for size in range(len(others) + 1):
            share = factorial(size) * factorial(len(others) - size) / factorial(len(names))
            value += sum(
                share * (expected(frozenset(known) | {name}) - expected(frozenset(known)))
                for known in combinations(others, size)
            )
        assert found[place] == pytest.approx(value, abs=1e-4)


def _average(node: dict[str, Any], row: dict[str, Any], known: frozenset[str]) -> float:
    if "leaf" in node:
        return node["leaf"]
    below = {child["nodeid"]: child for child in node["children"]}
    if node["split"] in known:
        value = row[node["split"]]
        way = "missing" if value is None else "yes" if np.float32(value) < np.float32(node["split_condition"]) else "no"
        return _average(below[node[way]], row, known)
    cover = sum(child["cover"] for child in node["children"])
    return sum(child["cover"] / cover * _average(child, row, known) for child in node["children"])


def test_other_columns_and_another_order_do_not_matter() -> None:
    features = rows(seed=1).select("night", pl.lit("x").alias("other"), "risk", "amount")
    assert (explain(model(), features).contributions == explain(model(), rows(seed=1)).contributions).all()


def test_contributions_that_do_not_add_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = boosting.Trees.contributions
    monkeypatch.setattr(boosting.Trees, "contributions", lambda *a: whole(*a) * 1.01)
    with pytest.raises(ModelError, match=r"miss their log odds by up to .* at most 0.0001 is allowed"):
        explain(model(), rows())


def explained() -> Explained:
    return Explained(("amount", "risk", "hour"), np.array([[120.5, np.nan, 3]], np.float32),
                     np.array([[0.5, 1.25, -2.0]]), -4.0, np.zeros(1))  # fmt: skip


def test_the_features_that_raise_the_score_most_come_first() -> None:
    assert top(explained(), 2) == [[("risk", pytest.approx(np.nan, nan_ok=True), 1.25), ("amount", 120.5, 0.5)]]


def test_reasons_are_said_in_words_with_value_and_effect() -> None:
    assert in_words(top(explained())[0], WORDS).splitlines() == [
        "1. Share of fraud at the terminal: missing (raises the log odds by 1.25)",
        "2. Amount paid: 120.5 (raises the log odds by 0.50)",
        "3. hour: 3 (lowers the log odds by 2.00)",
    ]


def test_the_summary_is_the_mean_absolute_contribution_of_each_feature() -> None:
    found = summary(explain(model(), rows()))
    expected = np.abs(explain(model(), rows()).contributions).mean(axis=0)
    assert dict(found.iter_rows()) == pytest.approx(dict(zip(["amount", "risk", "night"], expected, strict=True)))
    assert found["mean_abs_shap"].is_sorted(descending=True)
