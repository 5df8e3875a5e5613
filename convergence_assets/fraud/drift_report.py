"""A page a week on which a person sees how the model's inputs moved; made on demand, because Evidently is slow."""

from datetime import date

import dagster as dg
import polars as pl

from convergence.monitoring.contracts import DriftReport
from convergence.monitoring.weekly_pages import weekly_pages
from convergence_assets.fraud.feature_views import MODEL_INPUT
from convergence_assets.fraud.profiles import FIT
from convergence_assets.partitions import weekly, window
from resources.lake import lake_asset
from resources.lineage import using

REPORT_WEEKS = weekly(date(2018, 7, 25), date(2018, 8, 29))


def _described(rows: pl.DataFrame) -> dict[str, object]:
    row = rows.row(0, named=True)
    return {"report": dg.MetadataValue.path(row["page"]), "drifted_columns": row["drifted_columns"]}


@lake_asset(
    contract=DriftReport,
    partitions_def=REPORT_WEEKS,
    ins={
        "transaction_features": using(
            MODEL_INPUT, key_prefix="fraud", partition_mapping=window(-(FIT.reach_back // 7 + 1), -1)
        ),
        "score_profiles": dg.AssetIn(key_prefix="fraud", partition_mapping=window(-1, -1)),
    },
    describe=_described,
    required_resource_keys={"reports"},
    code_version="1",
    key_prefix="fraud",
    group_name="fraud_monitoring",
    owners=["team:fraud"],
    kinds={"report", "deltalake"},
    tags={"layer": "operations"},
)
def drift_report(
    context: dg.AssetExecutionContext, transaction_features: pl.LazyFrame, score_profiles: pl.LazyFrame
) -> pl.DataFrame:
    """A page by Evidently: a week's inputs beside those that its champion knew.

    Grain: week, named by the day after it. Sampled rows; the page lies below the platform's home folder. It decides
    nothing: the verdicts are in fraud/drift.
    """
    weeks = [date.fromisoformat(key) for key in context.partition_keys]
    inputs = transaction_features.select("event_date", *MODEL_INPUT)
    return weekly_pages(inputs, score_profiles.collect(), weeks, FIT, context.resources.reports.of("fraud/drift"))
