"""The leaderboard that the models' parameters come from: families of models on the same folds, before every model.

Our own search decides. H2O AutoML judges the same folds when it is asked for, as rows that nothing depends on.
"""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import SettingsError
from convergence.lake.contracts import schema_of
from convergence.models import automl, h2o_leaderboard, splits, stacking
from convergence.models.automl import Entry
from convergence.models.families import families
from convergence_assets._parts.gated import history, keys_of
from convergence_assets.churn.feature_views import MODEL_INPUT
from convergence_assets.churn.model_contracts import ChurnLeaderboard
from convergence_assets.churn.training import SEED, matrix
from convergence_assets.churn.use_case import MODEL
from convergence_assets.partitions import dates, weekly
from resources.lake import Described, lake_asset

SEARCHED = weekly(date(2024, 2, 19), date(2024, 2, 19))  # a week before the first model, whose gate it does not see
ENGINES = (automl.OWN, h2o_leaderboard.ENGINE)


class LeaderboardConfig(dg.Config):
    """How long is searched, and by what."""

    engines: list[str] = [automl.OWN]  # h2o needs Java
    trials: int = 8  # of each family; of h2o the number of its models
    budget_s: float = 300.0  # of each engine, a limit: ten times what the trials take on a quiet machine
    folds: int = 5


def search(
    features: pl.DataFrame, labels: pl.DataFrame, as_of: date, config: LeaderboardConfig
) -> tuple[list[dict[str, Any]], list[Entry]]:
    """The leaderboard as of a date: rows of ChurnLeaderboard, and the entries with what differs from run to run.

    Raises:
        SettingsError: another engine than ENGINES, or not our own among them, which the models' parameters come from.
    """
    if not {automl.OWN} <= set(config.engines) <= set(ENGINES):
        raise SettingsError(f"engines are {', '.join(config.engines)}: expected {automl.OWN}, and h2o if it is wanted")
    known, schedule = MODEL.known(features, labels, as_of), MODEL.schedule
    rows = matrix(splits.training_rows(known, as_of, days=schedule.training_days, delay=schedule.delay_days))
    fold = stacking.stratified(rows.label, folds=config.folds, seed=SEED)
    limits = {"budget": config.budget_s, "seed": SEED}
    entries = automl.leaderboard(
        rows, fold, list(families(MODEL_INPUT, seed=SEED).values()), trials=config.trials, **limits
    )
    boards = [entries]
    if h2o_leaderboard.ENGINE in config.engines:
        boards.append(h2o_leaderboard.leaderboard(rows, fold, MODEL_INPUT, models=config.trials, **limits).entries)
    found = [
        {
            "event_date": as_of,
            "place": place,
            "rows": len(rows.label),
            **entry._asdict(),
            "parameters": json.dumps(dict(entry.parameters)),
        }
        for board in boards
        for place, entry in enumerate(board, 1)
    ]
    return found, [entry for board in boards for entry in board]


def standing(entries: Sequence[Entry], config: LeaderboardConfig) -> dict[str, Any]:
    """What the UI shows of a search, seconds included: they differ from run to run, so that no row has them."""
    columns = ("engine", "family", "auc", "auc_sd", "log_loss", "log_loss_sd", "brier", "brier_sd", "trials", "seconds",
               "cut_by_budget")  # fmt: skip
    records = [{c: round(v, 4) if isinstance(v := getattr(e, c), float) else v for c in columns} for e in entries]
    return {
        "leaderboard": dg.MetadataValue.table([dg.TableRecord(record) for record in records]),
        "best_family": entries[0].family,
        "best_log_loss": entries[0].log_loss,
        "engines": ", ".join(config.engines),
        "budget_s": config.budget_s,
        "search_s": round(sum(entry.seconds for entry in entries), 1),
        "cut_by_budget": any(entry.cut_by_budget for entry in entries),
    }


@lake_asset(
    contract=ChurnLeaderboard,
    partitions_def=SEARCHED,
    ins=history(MODEL, MODEL.schedule.weeks_back, MODEL.schedule.known_week),
    config_schema=LeaderboardConfig.to_fields_dict(),
    code_version="1",
    kinds={"scikitlearn", "xgboost"},
    tags={"layer": "model"},
    **keys_of(MODEL),
)
def churn_leaderboard(context: dg.AssetExecutionContext, features: pl.LazyFrame, labels: pl.LazyFrame) -> Described:
    """Families of models on the same folds: where the models' parameters come from.

    Optuna's seeded sampler over linear model, boosted trees, random forest and network, and the stack of the best of
    each. Trials decide and the budget only limits; a row says if it did. Config: engines, trials, budget_s, folds.
    """
    config = LeaderboardConfig(**context.op_execution_context.op_config)
    inputs, known = features.collect(), labels.collect()
    boards = {as_of: search(inputs, known, as_of, config) for as_of in dates(context)}
    rows = pl.DataFrame([row for found, _ in boards.values() for row in found])
    cards = {str(as_of): standing(entries, config) for as_of, (_, entries) in boards.items()}
    return Described(rows.select(schema_of(ChurnLeaderboard).names()), cards)
