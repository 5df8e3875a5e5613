"""What watches a gated model: profiles of what it sees and says, their drift, how good issued scores were, and a page.

Profiles are taken once a day and only added up afterwards. A day without scores is not judged, and waits until they are
issued.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from asset_checks.drift import drift_check
from convergence.lake.contracts import Contract, schema_of
from convergence.models.gated import GatedModel
from convergence.monitoring.contracts import Drift, DriftReport, FeatureProfile, ScoreProfile, ScoreReference
from convergence.monitoring.performance import performance_row
from convergence.monitoring.watch import (
    drift_rows,
    feature_profile_rows,
    newest,
    score_profile_rows,
    score_reference_rows,
    worst,
)
from convergence.monitoring.weekly_pages import weekly_pages
from convergence_assets.partitions import dates, weekly, window
from resources.keys import key_of
from resources.lake import lake_asset
from resources.lineage import using


@dataclass(frozen=True)
class Watched:
    """The assets that watch a model; `performance` is None where issued scores are not judged."""

    profiles: dg.AssetsDefinition
    score_profiles: dg.AssetsDefinition
    score_references: dg.AssetsDefinition
    drift: dg.AssetsDefinition
    report: dg.AssetsDefinition
    performance: dg.AssetsDefinition | None

    @property
    def assets(self) -> list[dg.AssetsDefinition]:
        """All of them."""
        judged = [self.performance] if self.performance else []
        return [self.profiles, self.score_profiles, self.score_references, self.drift, self.report, *judged]

    @property
    def checks(self) -> Sequence[dg.AssetChecksDefinition]:
        """Whether the newest day shows drift, and the newest judged week a loss."""
        report = "/".join(self.report.key.path)
        found = [
            drift_check(
                self.drift,
                name="drift",
                columns=("window_days", "feature", "verdict", "psi", "ks", "psi_limit", "ks_limit", "note"),
                next_step=f"Look at {report} of the week; mend the source if it broke, else the drift sensor retrains.",
            )
        ]
        if self.performance:
            found.append(
                drift_check(
                    self.performance,
                    name="performance",
                    columns=("feature", "verdict", "baseline", "limit", "effect", "note"),
                    next_step=f"Look at {'/'.join(self.drift.key.path)} for the inputs that moved; the drift sensor "
                    "asks for a retraining.",
                )
            )
        return found


def watched(
    model: GatedModel,
    weeks: dg.PartitionsDefinition,
    days: dg.PartitionsDefinition,
    feature_days: dg.PartitionsDefinition,
    judged: Contract | None,
) -> Watched:
    """The assets that watch a model, by weeks of its as-of dates, its scored days, and the days of its features.

    `judged`: contract of its performance; None: issued scores are not judged.
    """
    schedule, noun = model.schedule, model.stem.replace("_", " ")
    after = timedelta(days=7)
    keys: dict[str, Any] = {
        "key_prefix": model.use_case,
        "group_name": f"{model.use_case}_monitoring",
        "owners": [f"team:{model.use_case}"],
        "tags": {"layer": "monitoring"},
        "kinds": {"polars", "deltalake"},
        "code_version": "1",
    }

    def name(what: str) -> str:
        return model.table(what).partition("/")[2]

    def of(what: str, **asset_in: Any) -> dg.AssetIn:
        return dg.AssetIn(key_of(model.table(what)), **asset_in)

    def inputs(mapping: dg.PartitionMapping | None = None) -> dg.AssetIn:
        return using(model.inputs, key=key_of(model.features), partition_mapping=mapping)

    def read(features: pl.LazyFrame) -> pl.LazyFrame:
        return features.select("event_date", *model.inputs)

    @lake_asset(
        name=name("profiles"),
        description=f"How each input of the {noun} model is distributed, day by day.\n\n"
        "Grain: feature and day. Profiles of days add up to the profile of any window, exactly.",
        contract=FeatureProfile,
        partitions_def=feature_days,
        ins={"features": inputs()},
        **keys,
    )
    def profiles(features: pl.LazyFrame) -> pl.DataFrame:
        return feature_profile_rows(read(features).collect(), model.inputs)

    @lake_asset(
        name=name("score_profiles"),
        description=f"How the issued {noun} scores are distributed, day by day.\n\n"
        "Grain: model and day. Says too which champion scored the day.",
        contract=ScoreProfile,
        partitions_def=days,
        ins={"scores": using(("score",), key=key_of(model.table("scores")))},
        **keys,
    )
    def score_profiles(scores: pl.LazyFrame) -> pl.DataFrame:
        rows = scores.select("event_date", "model_version", "model_as_of", "score").collect()
        return score_profile_rows(rows, model.task.classes)

    @lake_asset(
        name=name("score_references"),
        description=f"How each week's {noun} champion scores rows that its fit has not seen.\n\n"
        "Grain: week. What issued scores are held against: the champion's own scores of the newest labelled rows.",
        contract=ScoreReference,
        partitions_def=weeks,
        ins={
            "promotions": using(("onnx",), key=key_of(model.table("promotions"))),
            "features": inputs(window(schedule.known_week, schedule.known_week)),
        },
        **keys,
    )
    def score_references(promotions: pl.LazyFrame, features: pl.LazyFrame) -> pl.DataFrame:
        return score_reference_rows(promotions.collect(), read(features).collect(), schedule, model.task.classes)

    @lake_asset(
        name=name("drift"),
        description=f"How far inputs and scores are from what the {noun} champion was made for.\n\n"
        "Grain: column, day, and window of days that ends on the day. PSI and KS distance with limits; the reference "
        "is what the champion of the day was fitted on, and its own scores before it served. Who has drifted is "
        "retrained by the drift sensor.",
        contract=Drift,
        partitions_def=days,
        ins={
            "profiles": of("profiles", partition_mapping=window(-schedule.reach_back)),
            "score_profiles": of("score_profiles", partition_mapping=window(-6)),
            "score_references": of("score_references", partition_mapping=window(-schedule.oldest_champion_days)),
        },
        describe=worst,
        **keys,
    )
    def drift(
        context: dg.AssetExecutionContext,
        profiles: pl.LazyFrame,
        score_profiles: pl.LazyFrame,
        score_references: pl.LazyFrame,
    ) -> pl.DataFrame:
        return drift_rows(
            profiles.collect(),
            score_profiles.collect(),
            score_references.collect(),
            dates(context),
            schedule,
            lengths=model.window_days,
            fixed_by_the_day=model.fixed_by_the_day,
        )

    @lake_asset(
        name=name("drift_report"),
        description=f"A page by Evidently: a week's {noun} inputs beside those that its champion knew.\n\n"
        "Grain: week, named by the day after it. Sampled rows; the page lies below the platform's home folder. It "
        f"decides nothing: the verdicts are in {model.table('drift')}.",
        contract=DriftReport,
        partitions_def=weekly(schedule.first + after, schedule.last),
        ins={
            "features": inputs(window(-(schedule.reach_back // 7 + 1), -1)),
            "score_profiles": of("score_profiles", partition_mapping=window(-1, -1)),
        },
        describe=_page,
        required_resource_keys={"reports"},
        **keys | {"kinds": {"report", "deltalake"}, "tags": {"layer": "operations"}},
    )
    def report(context: dg.AssetExecutionContext, features: pl.LazyFrame, score_profiles: pl.LazyFrame) -> pl.DataFrame:
        pages = context.resources.reports.of(f"{model.use_case}/drift")
        return weekly_pages(newest(read(features)), score_profiles.collect(), dates(context), schedule, pages)

    performance = _performance(model, judged, keys) if judged else None
    return Watched(profiles, score_profiles, score_references, drift, report, performance)


def _performance(model: GatedModel, contract: Contract, keys: dict[str, Any]) -> dg.AssetsDefinition:
    """The asset that judges issued scores: the newest week whose labels are all known."""
    schedule = model.schedule
    week = window(schedule.known_week, schedule.known_week)
    decisions = window(schedule.known_week - schedule.oldest_champion_days // 7 * 4, schedule.known_week)

    @lake_asset(
        name=model.table("score_performance").partition("/")[2],
        description="How good the issued scores were, once their labels are known.\n\n"
        "Grain: week, named by the day on which its last label was known. The baseline is what the gate measured of "
        "the champion before it served; a loss above the limit that is no chance calls for retraining.",
        contract=contract,
        partitions_def=weekly(schedule.first + timedelta(days=7 - 7 * (schedule.known_week + 1)), schedule.last),
        ins={
            "scores": dg.AssetIn(key_of(model.table("scores")), partition_mapping=week),
            "labels": using((model.task.label, "label_time"), key=key_of(model.labels), partition_mapping=week),
            "promotions": dg.AssetIn(key_of(model.table("promotions")), partition_mapping=decisions),
        },
        describe=_numbers,
        metadata={"key_metric": model.task.measure.name},
        **keys | {"kinds": {"scikitlearn", "deltalake"}},
    )
    def performance(
        context: dg.AssetExecutionContext, scores: pl.LazyFrame, labels: pl.LazyFrame, promotions: pl.LazyFrame
    ) -> pl.DataFrame:
        issued, known = scores.collect(), labels.collect()
        measured = promotions.select("challenger_version", model.gate_measure).collect()
        rows = [performance_row(model, issued, known, measured, week) for week in dates(context)]
        return pl.DataFrame(rows, schema=schema_of(contract))

    return performance


def _page(rows: pl.DataFrame) -> dict[str, object]:
    row = rows.row(0, named=True)
    return {"report": dg.MetadataValue.path(row["page"]), "drifted_columns": row["drifted_columns"]}


def _numbers(rows: pl.DataFrame) -> dict[str, Any]:
    """Every number of a judged week: Dagster plots them over the weeks."""
    return {k: str(v) if isinstance(v, date) else v for k, v in rows.row(0, named=True).items() if k != "event_date"}
