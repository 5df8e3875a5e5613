"""The churn page: every marker has a value, and values say what the tables say."""

from datetime import date

import polars as pl
import pytest
from click.testing import CliRunner

from convergence.cli import cli
from convergence.marked_pages import marked
from convergence_assets.churn import pages
from convergence_assets.churn.cross_validation import judged
from convergence_assets.churn.use_case import USE_CASE
from tests.graph.house import ROOT

DAY, NEXT = date(2024, 3, 1), date(2024, 3, 2)


def test_the_page_has_the_markers_that_are_given_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run", "cross_validation", "leaderboard", "walk_forward", "fairness", "campaign"):
        monkeypatch.setattr(pages, name, lambda *_: "")
    monkeypatch.setattr("convergence.lake.tables.Lake.scan", lambda *_: pl.LazyFrame())
    (page,) = USE_CASE.pages[0].files
    assert marked((ROOT / page).read_text()) == set(pages.numbers(pages.Lake("anywhere")))


def test_the_cross_validation_is_told_with_baseline_published_figures_and_goals() -> None:
    rows = pl.DataFrame(
        {
            "event_date": [DAY] * 8,
            "repeat": [0, 0, 0, 0, 1, 1, 1, 1],
            "fold": [0, 0, 1, 1] * 2,
            "churned": [True, False] * 4,
            "score": [0.9, 0.1] * 4,
            "baseline_score": [0.2, 0.8] * 4,
            "monthly_charges": [50.0] * 8,
        }
    )
    lines = pages.cross_validation(judged(rows)).splitlines()
    assert lines[0] == "| | stack | logistic regression, one-hot | published | goal |"
    assert "| AUC | 1.0000 ± 0.0000 | 0.0000 ± 0.0000 | 0.845 to 0.85 | ≥ 0.849 |" in lines


def test_of_the_leaderboards_the_newest_is_told_best_family_first() -> None:
    rows = pl.DataFrame(
        {
            "event_date": [date(2024, 1, 1), DAY, DAY],
            "engine": "convergence",
            "family": ["old", "second", "first"],
            "place": [1, 2, 1],
            "log_loss": [0.1, 0.5, 0.4],
            "auc": [0.9, 0.8, 0.85],
            "brier": [0.1, 0.2, 0.15],
            "trials": [1, 2, 3],
        }
    )
    assert pages.leaderboard(rows).splitlines()[2:] == [
        "| first | convergence | 0.4000 | 0.8500 | 0.1500 | 3 |",
        "| second | convergence | 0.5000 | 0.8000 | 0.2000 | 2 |",
    ]


def test_a_week_says_whether_its_model_was_let_in() -> None:
    weeks = pl.DataFrame(
        {
            "event_date": [DAY, date(2024, 3, 8)],
            "model_version": ["a", "b"],
            "test_churned": [10, 20],
            "test_rows": [100, 100],
            "roc_auc": [0.8, 0.9],
            "roc_auc_low": [0.7, 0.8],
            "roc_auc_high": [0.9, 0.95],
            "brier": [0.1, 0.2],
            "lift_10": [3.0, 2.5],
        }
    )
    decisions = pl.DataFrame({"challenger_version": ["a", "b"], "promoted": [True, False]})
    first, second = pages.walk_forward(weeks, decisions).splitlines()[2:]
    assert first == "| 2024-03-01 | 10 of 100 | 0.800 [0.700, 0.900] | 0.100 | 3.00 | promoted |"
    assert second.endswith("| refused |")


def test_the_campaign_counts_those_on_the_lists_who_left() -> None:
    targets = pl.LazyFrame(
        {
            "event_date": [DAY, DAY, NEXT],
            "customer_id": ["a", "b", "d"],
            "cost": [30.0, 40.0, 10.0],
            "expected_gain": [5.0, 6.0, 1.0],
        }
    )
    labels = pl.LazyFrame(
        {"event_date": [DAY] * 3 + [NEXT], "customer_id": list("abcd"), "churned": [True, False, True, False]}
    )
    assert pages.campaign(targets, labels) == (
        "3 offers on 2 days, which cost at most 40 USD on an average day; expected gain 12 USD; "
        "33.3 % of these customers left."
    )


def test_pages_of_a_use_case_that_has_none_are_refused() -> None:
    done = CliRunner().invoke(cli, ["docs", "--use-case", "nobody"])
    assert done.exit_code == 2
    assert "declares no pages; there are those of churn, fraud" in done.output
