"""A run of an asset as a trace whose id is the run's: what was read for it, what it did, and what it committed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any
from uuid import UUID

import dagster as dg
import polars as pl
from deltalake import DeltaTable

from convergence.lake.tables import WHOLE, Lake
from convergence.observability.context import bind, bound, current
from convergence.observability.traces import Tracer
from resources.keys import table_of

Body = Callable[..., Iterator[Any]]


def traced(body: Body) -> Body:
    """The body of an asset with resource `lake`: its run is a span, with a part for each `Snapshot` that it reads."""

    @wraps(body)
    def within(context: dg.AssetExecutionContext, **snapshots: Any) -> Iterator[Any]:
        tracer: Tracer = context.resources.lake.tracer
        table, run = table_of(context.asset_key), context.run_id
        keys = context.partition_keys if context.assets_def.partitions_def else [WHOLE]
        began = min((read.began for read in snapshots.values()), default=None)
        try:
            with (
                bound(run_id=run, asset=table),
                tracer.trace(f"materialize {table}", trace_id=trace_of(run), began=began) as span,
            ):
                span.set(asset=table, run_id=run, partitions=len(keys), first=keys[0], last=keys[-1])
                for name, read in snapshots.items():
                    upstream = table_of(context.asset_key_for_input(name))
                    tracer.past(f"read {upstream}", read.began, read.ended, version=read.read.version)
                yield from body(context, **snapshots)
                span.set(**{name: current().get(name) for name in ("rows", "messages", "version")})
        finally:
            tracer.flush()

    return within


@contextmanager
def committing(
    context: dg.OutputContext, tracer: Tracer, lake: Lake, frames: Mapping[str, pl.DataFrame], base: DeltaTable | None
) -> Iterator[None]:
    """The commit of an asset's partitions onto `base` as a span and a line of the run's log."""
    table, rows = table_of(context.asset_key), sum(frame.height for frame in frames.values())
    with tracer.span(f"write {table}") as span:
        yield
        since = lake.commits(table, base.version() if base else -1)
        mine = [commit.version for commit in since if commit.manifest["run_id"] == context.run_id]
        written = {"rows": rows, "version": max(mine, default=None)}
        span.set(partitions=len(frames), **written)
    bind(**written)
    context.log.info(f"{table}: {rows:,} rows of {len(frames)} partition(s) are version {written['version']}")


def trace_of(run_id: str) -> str | None:
    """The id of a run's trace: the run's, without its hyphens; None for a run that is none of Dagster's."""
    try:
        return UUID(run_id).hex
    except ValueError:
        return None
