"""The lander in Dagster: an asset whose materialization takes in everything that has arrived, each message once."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.lander import land
from convergence.arrivals.topics import Topic
from convergence.lake.manifests import Provenance, states
from convergence.versions.revision import code_revision
from resources.contract_metadata import column_schema, contract_check
from resources.lake import WITHOUT_EVENTS, failures


class Inbox(dg.ConfigurableResource):
    """The drop folder: `<root>/<topic>/` holds the files that have arrived."""

    root: str

    @cached_property
    def source(self) -> DropFolder:
        """The plain source behind this resource."""
        return DropFolder(Path(self.root))


def landing_asset(topic: Topic, *, partitions_def: dg.PartitionsDefinition, **asset: Any) -> dg.AssetsDefinition:
    """The raw table of a topic. Whichever partition is asked for, all that has arrived is landed, on its own dates."""
    key = dg.AssetKey(topic.table.split("/"))
    promise = f"Messages keep {topic.contract.__name__}; others go to {topic.table}_rejected or _late."

    @dg.asset(
        key=key,
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={"lake", "inbox"},
        io_manager_key="lake",
        output_required=False,
        check_specs=[contract_check(key, promise, partitions_def)],
        kinds={"file", "deltalake"},
        tags={"layer": "raw"},
        code_version="1",
        description=(
            f"Every accepted message of {topic.name}, as it arrived.\n\n"
            "Materializing any partition lands all that has arrived: each message exactly once, on its own event date. "
            f"Events more than {topic.late_after} late go to `{topic.table}_late`, "
            f"unusable ones to `{topic.table}_rejected`."
        ),
        metadata={
            "dagster/table_name": topic.table,
            "dagster/column_schema": column_schema(topic.contract),
            "topic": topic.name,
        },
        **asset,
    )
    def raw(context: dg.AssetExecutionContext) -> Iterator[Any]:
        lake, source = context.resources.lake.lake, context.resources.inbox.source
        made = Provenance(context.run_id, "1", code_revision(), {"topic": topic.name, "source": "drop folder"})
        with failures():
            landed = land(lake, topic, source, made)
            held = states(lake, [topic.table])[topic.table]
        context.log.info(f"drop folder {topic.name}: {landed}")
        counts = {"messages": landed.messages, "rows_rejected": landed.rejected, "rows_late": landed.late}
        yield dg.Output(None, metadata=WITHOUT_EVENTS)
        for day in sorted(landed.days):
            state = held[day]
            yield dg.AssetMaterialization(
                key,
                partition=day,
                metadata={
                    "dagster/partition_row_count": state.rows,
                    "data_origin": ", ".join(state.origins),
                    "delta_version": state.version,
                    "source": "drop folder",
                },
                tags={
                    "dagster/data_version": state.content_hash,
                    "dagster/code_version": "1",
                    "dagster/data_version_is_user_provided": "true",
                },
            )
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name="contract",
                passed=True,
                partition=day,
                blocking=True,
                metadata={"rows": state.rows},
            )
        passed = landed.rejected == 0
        severity = dg.AssetCheckSeverity.WARN  # the stream goes on; the rows wait in quarantine
        yield dg.AssetCheckResult(check_name="contract", passed=passed, severity=severity, metadata=counts)

    return raw  # pyright: ignore[reportReturnType]
