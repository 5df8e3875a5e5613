"""A page a week on which a person sees how the model's inputs moved; made on demand, because Evidently is slow."""

from datetime import date, timedelta

import dagster as dg
import polars as pl

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.monitoring.contracts import DriftReport
from convergence.monitoring.evidently_report import write_report
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
    champions = score_profiles.collect()
    inputs = transaction_features.select("event_date", *MODEL_INPUT)
    rows = []
    for week in map(date.fromisoformat, context.partition_keys):
        served = champions.filter(pl.col("event_date").is_between(week - timedelta(days=7), week - timedelta(days=1)))
        if served.is_empty():
            raise ModelError(f"no scores of the week before {week}: materialize fraud/score_profiles of it first")
        as_of = served.sort("event_date", "rows")["model_as_of"][-1]
        windows = FIT.trained_on(as_of), (week - timedelta(days=7), week - timedelta(days=1))
        old, new = (inputs.filter(pl.col("event_date").is_between(*w)).drop("event_date").collect() for w in windows)
        page, name = context.resources.reports.page(f"fraud/drift/{week}.html")
        written = write_report(old, new, page)
        context.log.info(str(page.resolve()))
        rows.append({"event_date": week, "page": name, **written._asdict()})
    return pl.DataFrame(rows, schema=schema_of(DriftReport))
