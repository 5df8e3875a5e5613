"""The search for the parameters of the model's trees, on weeks that precede every week that a model is judged on.

It is an asset, so that a model's manifest names the search that its parameters come from. There is one, as of a week
before the first model: that model's gate uses labels that the search has not seen either.
"""

import json
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns
from convergence.markdown import table
from convergence.models import splits, tuning
from convergence.models.gated_contracts import LEARNED
from convergence.models.tuning import Fold, Range, Tuned
from convergence.monitoring.contracts import AS_OF
from convergence_assets._parts.gated import history, keys_of
from convergence_assets.fraud.training import SEED, THINNED, in_use, matrix, trees
from convergence_assets.fraud.use_case import MODEL
from convergence_assets.partitions import dates, weekly
from resources.lake import lake_asset

SEARCHED = weekly(date(2018, 7, 11), date(2018, 7, 11))
FOLDS, TRIALS = 3, 12
WEEKS_BACK = 13  # from 2018-04-11 on, where the first model's window begins, too
SPACE = {
    "rounds": Range(100, 200),
    "max_depth": Range(3, 6),
    "eta": Range(0.02, 0.1, log=True),
    "min_child_weight": Range(1.0, 50.0, log=True),
    "lambda": Range(1.0, 50.0, log=True),
    "subsample": Range(0.5, 1.0),
    "colsample_bytree": Range(0.2, 0.8),
}


class FraudParameters(pa.DataFrameModel):
    """Parameters of the model's trees, and the search that they come from."""

    event_date: date = pa.Field(description="As-of date: nothing after the start of this day was seen", metadata=AS_OF)
    parameters: str = pa.Field(description="Of the trees, rounds included, as JSON")
    average_precision: float = pa.Field(ge=0, le=1, description="Mean over the folds, with thinned training rows")
    changed: bool = pa.Field(description="Whether they are others than those in use before the search")
    reason: str = pa.Field(description="Why, with the figures")
    first_judged: date = pa.Field(description="First day of the first fold that was judged")
    last_judged: date = pa.Field(description="Last day of the last fold that was judged")
    seed: int = pa.Field(description="Of sampler, thinning and trees", metadata={"made_here": "a constant"})
    trials: str = pa.Field(description="Each trial with its parameters and value by fold, as JSON")
    importance: str = pa.Field(description="Share of the trials' variance that goes with each parameter, as JSON")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": LEARNED}


def folds(known: pl.DataFrame, as_of: date) -> list[Fold]:
    """The newest FOLDS weeks with known labels, in order; each is judged by a fit on all that was known at its start.

    Genuine rows of the fit are thinned to every THINNED-th, which counts as many times; judged rows are all there.
    """
    first = known["event_date"].min()
    assert isinstance(first, date)
    starts = [as_of - timedelta(days=MODEL.schedule.delay_days + 7 * back) for back in range(FOLDS, 0, -1)]
    delay = MODEL.schedule.delay_days
    return [
        Fold(
            matrix(splits.training_rows(known, s, days=(s - first).days, delay=delay)).thinned(THINNED, SEED),
            matrix(splits.evaluation_rows(known, s)),
        )
        for s in starts
    ]


def search(features: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> dict[str, Any]:
    """The parameters as of a date: one row of FraudParameters."""
    weeks_before = folds(MODEL.known(features, labels, as_of), as_of)
    found: Tuned = tuning.tune(weeks_before, trees, SPACE, in_use(), trials=TRIALS, seed=SEED)
    return {
        "event_date": as_of,
        "parameters": json.dumps(dict(found.parameters)),
        "average_precision": found.value,
        "changed": found.changed,
        "reason": found.reason,
        "first_judged": weeks_before[0].judged_on.day.min().item(),
        "last_judged": weeks_before[-1].judged_on.day.max().item(),
        "seed": SEED,
        "trials": json.dumps(found.trials),
        "importance": json.dumps(dict(found.importance)),
    }


def search_card(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a search: the decision, the trials, best first, and what mattered among them."""
    row = rows.row(0, named=True)
    trials = sorted(json.loads(row["trials"]), key=lambda t: -t["value"])
    return {
        "average_precision": row["average_precision"],
        "changed": row["changed"],
        "trials": len(trials),
        "search_card": dg.MetadataValue.md(
            f"**Parameters as of {row['event_date']}**: `{row['parameters']}`.\n\n{row['reason']}. Judged on "
            f"{row['first_judged']} to {row['last_judged']}; fits see every {THINNED}th genuine transaction. Trial 0 "
            f"is what was in use.\n\n"
            + table(["trial", "AP", *SPACE], [[t["number"], t["value"], *t["parameters"].values()] for t in trials])
            + "\n\n"
            + table(["parameter", "share of the trials' variance"], list(json.loads(row["importance"]).items()))
        ),
    }


@lake_asset(
    contract=FraudParameters,
    partitions_def=SEARCHED,
    ins=history(MODEL, -WEEKS_BACK, MODEL.schedule.known_week),
    describe=search_card,
    code_version="1",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "model"},
    **keys_of(MODEL),
)
def fraud_parameters(context: dg.AssetExecutionContext, features: pl.LazyFrame, labels: pl.LazyFrame) -> pl.DataFrame:
    """Parameters of the fraud model's trees, searched on earlier weeks.

    Optuna's seeded sampler, mean average precision over weeks in order of time, each judged by a fit on what was known
    at its start. What was in use stays unless something beats it by more than one standard error.
    """
    rows, known = features.collect(), labels.collect()
    return pl.DataFrame([search(rows, known, as_of) for as_of in dates(context)])
