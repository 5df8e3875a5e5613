"""The retention campaign: each day the list of customers whose offers are worth most within the day's budget."""

from dataclasses import asdict
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.markdown import table
from convergence.models import campaign, explanation
from convergence.models.campaign import Assumptions
from convergence_assets._parts.gated import keys_of
from convergence_assets.churn.feature_views import DESCRIPTIONS, MODEL_INPUT
from convergence_assets.churn.model import CHURN
from convergence_assets.churn.model_contracts import CampaignTarget
from convergence_assets.churn.use_case import MODEL
from resources.lake import Described, lake_asset
from resources.lineage import using

BUDGET = 400.0  # USD a day, for about 63 customers: binds, so that the list is a choice
_ROW = ("event_date", "customer_id")

# The one place where a run can change them; what each means stands beside its field.
CONFIG = {"budget": dg.Field(float, default_value=BUDGET, description="USD a day, contacts and incentives at most")} | {
    name: dg.Field(float, default_value=value, description=f"See convergence.models.campaign.Assumptions.{name}")
    for name, value in asdict(Assumptions()).items()
}


def target_rows(
    features: pl.DataFrame, scores: pl.DataFrame, champions: pl.DataFrame, assumptions: Assumptions, budget: float
) -> pl.DataFrame:
    """CampaignTarget rows: for each day the customers to be made an offer, the greatest expected gain first.

    Raises:
        ModelError: a score was issued by a model that is not the day's champion, or its reasons do not add up.
    """
    trees = dict(champions.select("event_date", "model").iter_rows())
    issued = scores.join(
        champions.select("event_date", "model_version"), on=["event_date", "model_version"], how="anti"
    )
    if issued.height:
        day, by = issued.select("event_date", "model_version").row(0)
        raise ModelError(
            f"{issued.height} scores were issued by another model than the champion of their day, e.g. on {day} by "
            f"{by}: materialize churn/churn_scores of that day again"
        )
    priced = features.join(scores.select(*_ROW, "score", "model_version"), on=_ROW, how="inner")
    parts = [pl.DataFrame(schema=schema_of(CampaignTarget))]
    for (day,), rows in priced.partition_by("event_date", as_dict=True).items():
        score, charges = rows["score"], rows["monthly_charges"]
        gain, cost = assumptions.gain(score, charges), assumptions.most(charges)
        chosen = campaign.targets(gain, cost, budget)
        if not chosen.any():
            continue
        listed = rows.filter(chosen)
        reasons = explanation.top(explanation.explain(trees[day], listed))
        ranked = listed.with_columns(
            value_at_stake=pl.Series(assumptions.value(listed["monthly_charges"])).round(2),
            expected_gain=pl.Series(gain[chosen]),
            cost=pl.Series(cost[chosen]),
            reasons=pl.Series([explanation.in_words(row, DESCRIPTIONS) for row in reasons]),
        ).sort(pl.col("expected_gain").neg(), "customer_id")
        placed = ranked.with_columns(place=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
        parts.append(placed.select(schema_of(CampaignTarget).names()))
    return pl.concat(parts)


def list_figures(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a day's list."""
    return {
        "targets": rows.height,
        "cost_at_most": round(float(rows["cost"].sum()), 2),
        "expected_gain": round(float(rows["expected_gain"].sum()), 2),
    }


def sensitivities(
    features: pl.DataFrame, scores: pl.DataFrame, assumptions: Assumptions, budget: float
) -> dict[str, dict[str, Any]]:
    """By day what each assumption decides: the list with it half as large, and half as large again."""
    found = {}
    priced = features.select(*_ROW, "monthly_charges").join(scores.select(*_ROW, "score"), on=_ROW, how="inner")
    for (day,), rows in priced.partition_by("event_date", as_dict=True).items():
        varied = campaign.sensitivity(rows["score"], rows["monthly_charges"], assumptions, budget)
        expected = campaign.curve(rows["score"], rows["score"], rows["monthly_charges"], assumptions)
        found[str(day)] = {
            "budget": budget,
            "assumptions": str(assumptions),
            "sensitivity": dg.MetadataValue.md(table(varied.columns, varied.rows())),
            "expected_profit_and_lift": dg.MetadataValue.md(table(expected.columns, expected.rows())),
        }
    return found


@lake_asset(
    contract=CampaignTarget,
    partitions_def=CHURN.days,
    ins={"customer_features": using(MODEL_INPUT, key_prefix="churn")}
    | {n: dg.AssetIn(key_prefix="churn") for n in ("churn_scores", "churn_champions")},
    describe=list_figures,
    config_schema=CONFIG,
    code_version="1",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "prediction"},
    **keys_of(MODEL),
)
def campaign_targets(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    churn_scores: pl.LazyFrame,
    churn_champions: pl.LazyFrame,
) -> Described:
    """Customers to be made an offer each day: the best list within the budget.

    Grain: customer. Chosen exactly by expected gain under assumptions that are configured, and ranked by it; what an
    offer costs at most never sums to more than the budget. Reasons are exact SHAP values of the champion's trees.
    """
    given = dict(context.op_execution_context.op_config)
    budget, assumptions = given.pop("budget"), Assumptions(**given)
    features, scores = customer_features.collect(), churn_scores.collect()
    rows = target_rows(features, scores, churn_champions.collect(), assumptions, budget)
    return Described(rows, sensitivities(features, scores, assumptions, budget))
