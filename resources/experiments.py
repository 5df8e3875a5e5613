"""MLflow as a resource, and the runs that assets log there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from convergence.models.registry import Registry


class Experiments(dg.ConfigurableResource):
    """An MLflow tracking store; see `Registry`."""

    tracking_uri: str
    artifacts: str

    @property
    def plain(self) -> Registry:
        """The store itself."""
        return Registry(self.tracking_uri, self.artifacts)


def logged(
    context: dg.AssetExecutionContext, rows: Sequence[Mapping[str, Any]], **what: Callable[[Mapping[str, Any]], Any]
) -> dict[str, dict[str, Any]]:
    """A run in MLflow for each row, tagged with the run of Dagster; metadata that names it, by partition.

    `what`: arguments of `Registry.log`, from a row.
    """
    name = context.asset_key.path[-1]
    tags = {"dagster.run_id": context.run_id, "dagster.asset": context.asset_key.to_user_string()}
    return {
        str(row["event_date"]): {
            "mlflow_run": context.resources.experiments.plain.log(
                name,
                row["model_version"],
                tags={**tags, "dagster.partition": str(row["event_date"])},
                **{argument: of(row) for argument, of in what.items()},
            )
        }
        for row in rows
    }
