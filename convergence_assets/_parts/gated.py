"""A model behind a gate as assets: versions, decisions, champions by day and scores; `watched` is what looks after it.

A model as of a date sees nothing after it. The gate decides on the newest labelled rows that its fit has not seen; what
people promote or roll back to is in the release log; the champion of a day follows from both, is settled once, and
scores that day.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from asset_checks.gate import gate_check
from convergence.lake.contracts import Contract, schema_of
from convergence.models import promotions, release_log
from convergence.models.gated import Fit, GatedModel, decide, issue, version
from convergence.models.gated_contracts import Contracts
from convergence.versions.audit import AuditLog
from convergence_assets._parts.cards import champion_card, decision_card, model_card, score_card
from convergence_assets._parts.evaluated import evaluated
from convergence_assets._parts.watched import Watched, watched
from convergence_assets.partitions import daily, dates, weekly, window
from resources.experiments import logged
from resources.keys import key_of, table_of
from resources.lake import Described, lake_asset
from resources.lineage import using
from resources.release_job import release_job
from sensors.drift import Retraining

Describe = Callable[[pl.DataFrame], Mapping[str, Any]]

_DECISION_LASTS = timedelta(days=6)  # the gate decides every week


@dataclass(frozen=True)
class Parameters:
    """Where a fit's parameters come from: a table, and the choice of those that were found by a date."""

    table: str
    as_of: Callable[[pl.DataFrame, date], Any]


@dataclass(frozen=True)
class Gated:
    """The assets of a gated model, by what they are, its contracts, checks and job."""

    declared: GatedModel
    model: dg.AssetsDefinition
    promotions: dg.AssetsDefinition
    champions: dg.AssetsDefinition
    scores: dg.AssetsDefinition
    watched: Watched
    evaluation: dg.AssetsDefinition | None  # None: the use case has its own, or none
    weeks: dg.PartitionsDefinition
    days: dg.PartitionsDefinition
    contracts: Contracts

    @property
    def assets(self) -> list[dg.AssetsDefinition]:
        """All of them."""
        judged = [self.evaluation] if self.evaluation else []
        return [self.model, self.promotions, self.champions, self.scores, *judged, *self.watched.assets]

    @property
    def checks(self) -> list[dg.AssetChecksDefinition]:
        """What stands beside them: the gate's verdict, drift, performance."""
        return [gate_check(self.promotions), *self.watched.checks]

    @property
    def jobs(self) -> list[dg.JobDefinition]:
        """Promotion and rollback from the UI."""
        return [release_job(self.declared.releasable)]


def gated_model(
    declared: GatedModel,
    *,
    fit: Fit,
    last_day: date,
    features_days: dg.PartitionsDefinition,
    contracts: Contracts,
    card: Describe | None = None,
    parameters: Parameters | None = None,
    code_version: str = "1",
    kinds: frozenset[str] = frozenset({"polars", "mlflow"}),
) -> Gated:
    """The assets of a model.

    Args:
        declared: what it predicts, from which tables, and when.
        fit: of one model, from the labelled rows that it may see.
        last_day: the last day that is scored.
        features_days: partitions of its features.
        contracts: of its tables.
        card: what the UI shows of a version; default: its report.
        parameters: where the fit's parameters come from, if from a table.
        code_version: of `fit`; a change of it shows models as out of date.
        kinds: logos of the model.
    """
    schedule = declared.schedule
    weeks, days = weeks_of(declared), daily(schedule.first, last_day)
    keys = keys_of(declared)
    name, stem, noun = declared.name, declared.stem, declared.stem.replace("_", " ")

    @lake_asset(
        name=name,
        description=f"{noun.capitalize()} model of each week, as of its date.\n\n"
        "Trained on labels known at the start of the date; the newest labels are kept for the gate. The row is the "
        "model: an ONNX graph with its signature, opened by its hash. Never rebuilt by itself: a person, a schedule or "
        "drift decides.",
        contract=contracts.model,
        partitions_def=weeks,
        ins=history(declared, schedule.weeks_back, schedule.known_week) | _found(parameters),
        describe=card or model_card,
        required_resource_keys={"experiments"},
        code_version=code_version,
        kinds=set(kinds),
        tags={"layer": "model"},
        **keys,
    )
    def trained(
        context: dg.AssetExecutionContext, features: pl.LazyFrame, labels: pl.LazyFrame, **found: pl.LazyFrame
    ) -> Described:
        rows, known = features.collect(), labels.collect()
        chosen = found["parameters"].collect() if parameters else pl.DataFrame()
        made = [
            version(declared, fit, rows, known, as_of, parameters.as_of(chosen, as_of) if parameters else None)
            for as_of in dates(context)
        ]
        runs = logged(
            context,
            made,
            parameters=lambda each: json.loads(each["parameters"]),
            metrics=lambda each: {k: v for k, v in each.items() if isinstance(v, int | float)},
            files=lambda each: {
                k: v for k, v in (("report.json", each["report"]), ("model.json", each.get("model"))) if v
            },
        )
        return Described(pl.DataFrame(made, schema=schema_of(contracts.model)), runs)

    @lake_asset(
        name=f"{stem}_promotions",
        description=f"Which {noun} model serves from each as-of date on, decided by the gate.\n\n"
        "The challenger and the champion of the week before score the newest labelled rows that the challenger's fit "
        "has not seen. A refused challenger leaves the champion in place.",
        contract=contracts.promotion,
        partitions_def=weeks,
        ins={"model": dg.AssetIn(key_of(declared.models))}
        | history(declared, schedule.known_week, schedule.known_week),
        describe=lambda rows: decision_card(declared, rows),
        metadata={"reads_own_past": True},  # for `convergence reproduce`
        code_version="2",
        kinds={"polars", "deltalake"},
        tags={"layer": "release"},
        **keys,
    )
    def promoted(
        context: dg.AssetExecutionContext, model: pl.LazyFrame, features: pl.LazyFrame, labels: pl.LazyFrame
    ) -> pl.DataFrame:
        rows, known = features.collect(), labels.collect()
        champion = _champion_before(context)
        decisions: list[dict[str, Any]] = []
        for challenger in model.sort("event_date").collect().iter_rows(named=True):
            if decision := decide(declared, challenger, champion, rows, known):
                champion = decision
                decisions.append(decision)
                context.log.info(decision["reason"])
        return pl.DataFrame(decisions, schema=schema_of(contracts.promotion))

    @lake_asset(
        name=f"{stem}_champions",
        description=f"Which {noun} model scores each day: the gate's choice, or what was released.\n\n"
        "Grain: day. Settled once: a promotion or rollback counts from the first day that has no champion yet, so that "
        "made again, a day gets the same one.",
        contract=contracts.champion,
        partitions_def=days,
        ins={"promotions": dg.AssetIn(key_of(declared.table("promotions")))},
        describe=champion_card,
        metadata={"reads_releases": True},  # for `convergence reproduce`
        code_version="1",
        kinds={"polars", "deltalake"},
        tags={"layer": "release"},
        **keys,
    )
    def chosen(context: dg.AssetExecutionContext, promotions: pl.LazyFrame) -> pl.DataFrame:
        return champions_of(declared, contracts.champion, context, promotions.collect())

    @lake_asset(
        name=f"{stem}_scores",
        description=f"{noun.capitalize()} score of each row by the champion of its day.\n\n"
        f"Grain: {declared.task.key}. Issued once: new data or models show it as out of date, nothing rewrites it by "
        "itself. Made again from the same inputs, its rows are the same.",
        contract=contracts.score,
        partitions_def=days,
        ins={
            "features": using(declared.inputs, key=key_of(declared.features)),
            "champions": using(("onnx",), key=key_of(declared.table("champions"))),
        },
        describe=lambda rows: score_card(declared, rows),
        code_version="3",
        kinds=set(kinds) - {"mlflow"} | {"deltalake"},
        tags={"layer": "prediction"},
        **keys,
    )
    def scored_days(features: pl.LazyFrame, champions: pl.LazyFrame) -> pl.DataFrame:
        return issue(declared, contracts.score, features.collect(), champions.collect())

    return Gated(
        declared=declared,
        model=trained,
        promotions=promoted,
        champions=chosen,
        scores=scored_days,
        watched=watched(declared, weeks, days, features_days, contracts.performance),
        evaluation=evaluated(declared, contracts.evaluation, history(declared, 0, 0), keys)
        if contracts.evaluation
        else None,
        weeks=weeks,
        days=days,
        contracts=contracts,
    )


def weeks_of(declared: GatedModel) -> dg.PartitionsDefinition:
    """The as-of dates of a model."""
    return weekly(declared.schedule.first, declared.schedule.last)


def retraining(declared: GatedModel) -> Retraining:
    """What drift of a model, or a loss of its performance where that is judged, makes again."""
    watching = [("drift", "drift"), *[("score_performance", "performance")] * (declared.performance_limit is not None)]
    return Retraining(
        model=declared.models,
        verdicts=tuple((declared.table(what), word) for what, word in watching),
        assets=(key_of(declared.models), key_of(declared.table("promotions"))),
        partitions_def=weeks_of(declared),
    )


def champions_of(
    declared: GatedModel, contract: Contract, context: dg.AssetExecutionContext, decisions: pl.DataFrame
) -> pl.DataFrame:
    """The champions of a run's days."""
    released = release_log.released(AuditLog(context.resources.lake.lake.store), declared.name)
    columns = [name for name in schema_of(contract).names() if name != "event_date"]
    days = dates(context)
    return promotions.champions(decisions, released, days, columns=columns, within=_DECISION_LASTS)


def keys_of(declared: GatedModel) -> dict[str, Any]:
    """Prefix, group and owner of what belongs to a model."""
    return {
        "key_prefix": declared.use_case,
        "group_name": f"{declared.use_case}_models",
        "owners": [f"team:{declared.use_case}"],
    }


def earlier(context: dg.AssetExecutionContext) -> pl.LazyFrame | None:
    """Rows of an asset's own earlier weeks, which no partition mapping expresses in a range; None: never written."""
    lake, table = context.resources.lake.lake, table_of(context.asset_key)
    if lake.open(table) is None:
        return None
    return lake.scan(table).filter(pl.col("event_date") < dates(context)[0])


def _champion_before(context: dg.AssetExecutionContext) -> dict[str, Any] | None:
    """The newest decision of an earlier week."""
    past = earlier(context)
    if past is None:
        return None
    return next(past.sort("valid_from", "decided_at").tail(1).collect().iter_rows(named=True), None)


def history(declared: GatedModel, first: int, last: int) -> dict[str, dg.AssetIn]:
    """Features and labels of the weeks from `first` to `last`, counted from an as-of date."""
    weeks = window(first, last)
    return {
        "features": using(declared.inputs, key=key_of(declared.features), partition_mapping=weeks),
        "labels": using((declared.task.label, "label_time"), key=key_of(declared.labels), partition_mapping=weeks),
    }


def _found(parameters: Parameters | None) -> dict[str, dg.AssetIn]:
    if parameters is None:
        return {}
    return {"parameters": dg.AssetIn(key_of(parameters.table), partition_mapping=dg.AllPartitionMapping())}
