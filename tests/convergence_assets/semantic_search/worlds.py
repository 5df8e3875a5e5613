"""A small deployment of semantic search: drawn shapes, small functions, a tiny text model, the real image backbone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from convergence.arrivals.simulators.search import simulate
from convergence.lake.tables import Lake
from convergence.search.snapshots import Snapshots
from convergence_assets.semantic_search import definitions
from convergence_assets.semantic_search.arrivals import FIRST_DAY, TOPIC
from resources.configured import resources
from resources.environments import Settings
from tests.convergence.search.tiny_checkpoints import sentence_transformer

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
DATED = ("raw_items", "search_items", "search_images", "image_features", "text_embeddings", "code_embeddings",
         "image_embeddings", "search_index", "search_releases")  # fmt: skip
ORDER = ("raw_items", "search_items", "search_images", "text_encoder", "code_encoder", "image_features",
         "image_encoder", "text_embeddings", "code_embeddings", "image_embeddings", "judged_queries",
         "image_out_of_fold", "search_rankers", "search_quality", "search_index", "search_releases")  # fmt: skip


def day(number: int) -> str:
    return str(FIRST_DAY + timedelta(days=number))


@dataclass
class House:
    """A deployment in a folder of its own, without published data."""

    settings: Settings
    instance: dg.DagsterInstance

    @property
    def lake(self) -> Lake:
        return resources(self.settings)["lake"].lake

    @property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.settings.home / "indexes" / "semantic_search")

    @property
    def definitions(self) -> dg.Definitions:
        mine = dg.Definitions(resources=resources(self.settings), executor=dg.in_process_executor)
        return dg.Definitions.merge(definitions.defs, mine)

    def drop(self, rows: pl.DataFrame, name: str) -> None:
        inbox = self.settings.home / "inbox" / TOPIC.name
        inbox.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(inbox / f"{name}.parquet")

    def materialize(self, first: int, last: int, *assets: str) -> dg.ExecuteInProcessResult:
        """The assets one after the other, dated ones on these days; stops at the first that fails."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        span = {"dagster/asset_partition_range_start": day(first), "dagster/asset_partition_range_end": day(last)}
        for asset in assets:
            result = job.execute_in_process(
                instance=self.instance,
                asset_selection=[dg.AssetKey(["semantic_search", asset])],
                tags=span if asset in DATED else {},
                run_config=QUIET,
                raise_on_error=False,
            )
            if not result.success:
                break
        return result

    def rows(self, table: str, *days: int) -> pl.DataFrame:
        return self.lake.scan(f"semantic_search/{table}", [day(n) for n in days] or None).collect()

    def metadata(self, result: dg.ExecuteInProcessResult, asset: str, on: int) -> Mapping[str, Any]:
        """What the newest materialization of a day says of itself."""
        events = result.asset_materializations_for_node(f"semantic_search__{asset}")
        return {k: v.value for event in events if event.partition == day(on) for k, v in event.metadata.items()}


def house_in(home: Path, instance: dg.DagsterInstance, **settings: Any) -> House:
    nothing = home / "nothing-published"
    nothing.mkdir(parents=True)
    tiny = f"folder:{sentence_transformer(home / 'tiny', 'mean')}"
    return House(Settings(home=home, data=nothing, text_encoder=tiny, code_encoder=tiny, **settings), instance)


def messages(images: int = 28, functions: int = 42) -> pl.DataFrame:
    """Two images, six captions and three functions a day."""
    return simulate(images=images, functions=functions)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step said."""
    (event,) = [e for e in result.all_events if e.is_step_failure]
    data = event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error_display_string)
