"""A small deployment of the churn use case: a few customers a day, in process."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from convergence.arrivals.simulators.churn import simulate
from convergence.lake.tables import Lake
from convergence_assets.churn import definitions
from convergence_assets.churn.arrivals import FIRST_DAY, TOPIC, on_replay_clock
from resources.configured import resources
from resources.environments import Settings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def day(number: int) -> str:
    return str(FIRST_DAY + timedelta(days=number))


@dataclass
class House:
    """A deployment in a folder of its own."""

    settings: Settings
    instance: dg.DagsterInstance

    @property
    def lake(self) -> Lake:
        return resources(self.settings)["lake"].lake

    @property
    def resources(self) -> dict[str, Any]:
        return resources(self.settings)

    def arrive(self, customers: int, name: str = "customers") -> pl.DataFrame:
        """Simulated customers in the drop folder, as one file; returns them."""
        inbox = self.settings.home / "inbox" / TOPIC.name
        inbox.mkdir(parents=True, exist_ok=True)
        rows = on_replay_clock(simulate(customers))
        rows.write_parquet(inbox / f"{name}.parquet")
        return rows

    def drop(self, rows: pl.DataFrame, name: str) -> None:
        rows.write_parquet(self.settings.home / "inbox" / TOPIC.name / f"{name}.parquet")

    @property
    def definitions(self) -> dg.Definitions:
        mine = dg.Definitions(resources=self.resources, executor=dg.in_process_executor)
        return dg.Definitions.merge(definitions.defs, mine)

    def materialize(self, first: str, last: str, *assets: str) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(["churn", asset]) for asset in assets],
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            run_config=QUIET,
            raise_on_error=False,
        )

    def rows(self, table: str, *days: str) -> pl.DataFrame:
        return self.lake.scan(f"churn/{table}", list(days) or None).collect()


def house_in(home: Path, instance: dg.DagsterInstance, **settings: Any) -> House:
    return House(Settings(home=home, **settings), instance)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step said."""
    (event,) = [e for e in result.all_events if e.is_step_failure]
    data = event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error_display_string)
