"""The walk-forward of a gated model as an asset: its versions, each on the week after its date."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from convergence.lake.contracts import Contract, schema_of
from convergence.models.evaluation import evaluation_row
from convergence.models.gated import GatedModel
from convergence_assets.partitions import weekly
from resources.experiments import logged
from resources.keys import key_of
from resources.lake import Described, lake_asset


def evaluated(
    declared: GatedModel, contract: Contract, week: Mapping[str, dg.AssetIn], keys: Mapping[str, Any]
) -> dg.AssetsDefinition:
    """`<stem>_evaluation`: a row for each as-of date whose week has known labels.

    Args:
        declared: the model.
        contract: of the table, as `gated_contracts.contracts` makes it.
        week: features and labels of the week that an as-of date begins.
        keys: prefix, group and owners.
    """
    assert declared.evaluated_to

    @lake_asset(
        name=declared.table("evaluation").partition("/")[2],
        description=f"Walk-forward evaluation: each {declared.stem.replace('_', ' ')} model on the week after its "
        "date.\n\nGrain: week. Its partitions exist once the labels do.",
        contract=contract,
        partitions_def=weekly(declared.schedule.first, declared.evaluated_to),
        ins={"model": dg.AssetIn(key_of(declared.models)), **week},
        describe=lambda rows: {k: v for k, v in rows.row(0, named=True).items() if k != "event_date"},
        metadata={"key_metric": declared.task.measure.name},
        required_resource_keys={"experiments"},
        code_version="1",
        kinds={"scikitlearn", "mlflow"},
        tags={"layer": "evaluation"},
        **keys,
    )
    def evaluation(
        context: dg.AssetExecutionContext, model: pl.LazyFrame, features: pl.LazyFrame, labels: pl.LazyFrame
    ) -> Described:
        inputs, known = features.collect(), labels.collect()
        versions = model.sort("event_date").collect().iter_rows(named=True)
        rows = [evaluation_row(declared, each, inputs, known) for each in versions]
        runs = logged(
            context,
            rows,
            parameters=lambda row: {"test_week": row["event_date"]},
            metrics=lambda row: {k: v for k, v in row.items() if isinstance(v, int | float)},
            files=lambda _: {},
        )
        return Described(pl.DataFrame(rows, schema=schema_of(contract)), runs)

    return evaluation
