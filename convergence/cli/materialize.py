"""Runs of the real assets, in this process, on a Dagster instance and in a lake that nobody else sees."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import dagster as dg

    from convergence.versions.reconcile import Node

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def materializer(instance: "dg.DagsterInstance", resources: Mapping[str, Any]) -> Callable[..., None]:
    """`run(node, tags, config)`: materialize partitions of a table, its blocking checks included, with `resources`.

    Raises LakeError, with what the failed step said.
    """
    import dagster as dg

    from convergence.errors import LakeError
    from convergence_assets.definitions import graphs
    from resources.keys import key_of

    beside = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    job = dg.Definitions.merge(*graphs, beside).resolve_implicit_global_asset_job_def()

    def run(node: "Node", tags: Mapping[str, str], config: Mapping[str, Any] | None = None) -> None:
        began = time.perf_counter()
        ops = {"ops": {node.table.replace("/", "__"): {"config": dict(config)}}} if config else {}
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[key_of(table) for table in (*node.steps, node.table)],
            tags=dict(tags),
            run_config={**QUIET, **ops},
            raise_on_error=False,
        )
        days = [value for key, value in tags.items() if "partition" in key]
        named = f"{node.table} {'..'.join(dict.fromkeys(days))}".rstrip()
        if not result.success:
            failed = (cause(event) for event in result.all_events if event.is_step_failure)
            raise LakeError(f"{named} could not be made: {next(failed, 'see the log above')}")
        click.echo(f"  {named:60} {time.perf_counter() - began:6.1f} s")

    return run


def cause(failure: "dg.DagsterEvent") -> str:
    """What a failed step said, in one line."""
    data = failure.step_failure_data
    said = data.user_failure_data and data.user_failure_data.description
    return " ".join((said or (data.error.message if data.error else "")).split())
