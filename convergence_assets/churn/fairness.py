"""How the churn score treats women and men, older and younger customers: measured on scores out of fold.

What a score is used for here is an offer, a benefit: a group that leaves more often gets more of them. So a gap in who
is selected only warns, and people decide; a model that ranks or calibrates a group worse is at fault.
"""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from asset_checks.fairness import fairness_check
from convergence.lake.contracts import schema_of
from convergence.models import fairness
from convergence_assets._parts.gated import keys_of
from convergence_assets.churn.cross_validation import OFFERED
from convergence_assets.churn.model_contracts import ChurnFairness
from convergence_assets.churn.training import SEED
from convergence_assets.churn.use_case import MODEL
from resources.lake import lake_asset

LIMITS = {
    "roc_auc": 0.05,
    "calibration": 0.05,
    "selection_rate": 0.1,
    "true_positive_rate": 0.1,
    "false_positive_rate": 0.1,
}
FAULTS = frozenset({"roc_auc", "calibration"})


def by_group(scores: pl.DataFrame) -> pl.DataFrame:
    """ChurnFairness rows of ChurnOutOfFold rows: a customer's mean score; the highest OFFERED of all are selected."""
    customers = (
        scores.group_by("event_date", "customer_id")
        .agg(pl.col("score").mean(), pl.col("churned", "gender", "senior").first())
        .sort("event_date", "customer_id")
    )
    score = customers["score"].to_numpy()
    selected = np.zeros(len(score), np.bool_)
    selected[np.argsort(-score, kind="stable")[: round(OFFERED * len(score))]] = True
    age = customers.select(pl.when("senior").then(pl.lit("65 or more")).otherwise(pl.lit("younger"))).to_series()
    found = fairness.measured(
        customers["churned"].to_numpy(),
        score,
        {"gender": customers["gender"].to_list(), "age": age.to_list()},
        selected=selected,
        limits=LIMITS,
        seed=SEED,
    )
    return found.select(schema_of(ChurnFairness).names())


def gaps(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows: the gaps as numbers."""
    return {f"{r['attribute']}_{r['measure']}_gap": r["value"] for r in rows.filter(group="gap").iter_rows(named=True)}


@lake_asset(
    contract=ChurnFairness,
    ins={"churn_out_of_fold": dg.AssetIn(key_prefix="churn")},
    describe=gaps,
    code_version="1",
    kinds={"scikitlearn", "deltalake"},
    tags={"layer": "evaluation", "not_partitioned": "folds-are-cut-across-all-days"},
    **keys_of(MODEL),
)
def churn_fairness(churn_out_of_fold: pl.LazyFrame) -> pl.DataFrame:
    """Measures of the churn score by gender and age, and the gaps between groups.

    Grain: attribute, measure and group. Ranking, calibration, and who would be selected for an offer to a fifth of the
    customers: of all, of those who left (equal opportunity), and of those who stayed.
    """
    return by_group(churn_out_of_fold.collect())


fairness_of_scores = fairness_check(
    churn_fairness,
    faults=FAULTS,
    next_step="Decide whether the difference in offers is wanted: groups that leave more often are selected more often "
    "by any score that ranks well. If not, select within groups.",
)
