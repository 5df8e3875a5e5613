"""The fairness check: a model at fault fails, a difference that people decide about warns."""

import dagster as dg
import polars as pl
import pytest

from asset_checks.fairness import judged
from convergence.models.fairness import SCHEMA

FAULTS = frozenset({"roc_auc"})
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def rows(measure: str = "roc_auc", verdict: str = "within") -> pl.DataFrame:
    group = ("age", "65 or more", measure, 100, 0.8, 0.75, 0.85, None, None)
    gap = ("age", "gap", measure, 200, 0.08, 0.06, 0.1, 0.05, verdict)
    return pl.DataFrame([group, gap], schema=SCHEMA, orient="row")


@pytest.mark.parametrize(
    ("measure", "verdict", "severity"),
    [
        ("roc_auc", "within", None),
        ("roc_auc", "watched", WARN),
        ("roc_auc", "exceeded", ERROR),
        ("true_positive_rate", "exceeded", WARN),
    ],
)
def test_only_a_fault_that_is_sure_fails(measure, verdict, severity) -> None:
    found = judged(rows(measure, verdict), FAULTS, "Decide.")
    assert found.passed == (severity is None)
    assert severity is None or found.severity == severity
    if severity:
        assert f"{measure} differs by 0.080 [0.060, 0.100] between groups of age, limit 0.05" in str(found.description)
        assert str(found.description).endswith("Decide.")


def test_nothing_compared_fails() -> None:
    found = judged(rows().head(0), FAULTS, "Decide.")
    assert not found.passed
    assert found.severity == ERROR
