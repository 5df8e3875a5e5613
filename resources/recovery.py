"""What an interrupted process leaves behind, put right at the next start: Dagster follows the lake."""

import os
from collections.abc import Iterable

import dagster as dg

from convergence.errors import LakeError
from convergence.lake.manifests import states
from convergence.lake.tables import WHOLE, Lake
from convergence.versions.reconcile import Node
from resources.arrivals import partition_events, report
from resources.keys import key_of

PROCESS = "convergence/process"  # tag of a run that lives in a process of our own, which no daemon watches

_DATA_VERSION = "dagster/data_version"


def process_tag() -> dict[str, str]:
    """Marks a run as living in this process."""
    return {PROCESS: str(os.getpid())}


def fail_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process is gone: a run that seems to go on would hold its partitions for ever."""
    started = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]))
    orphans = [run for run in started if PROCESS in run.tags and not _lives(int(run.tags[PROCESS]))]
    for run in orphans:
        instance.report_run_failed(run, f"process {run.tags[PROCESS]} ended before the run did")
    return [run.run_id for run in orphans]


def refuse_while_running(instance: dg.DagsterInstance, following: str) -> None:
    """Raise LakeError, with what to do, while a run is in progress: it may read files that are about to go."""
    statuses = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    running = [run.run_id[:8] for run in instance.get_runs(dg.RunsFilter(statuses=statuses))]
    if running:
        raise LakeError(f"{len(running)} runs are in progress ({', '.join(running[:3])}): {following}")


def report_unrecorded(
    instance: dg.DagsterInstance, lake: Lake, nodes: Iterable[Node], *, why: str | None = None
) -> int:
    """Tell Dagster of partitions that were committed by a run which ended before it could; returns how many."""
    nodes = list(nodes)
    held = states(lake, [n.table for n in nodes])
    reported = 0
    for node in nodes:
        key = key_of(node.table)
        known = instance.event_log_storage.get_latest_tags_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, [_DATA_VERSION]
        )
        for partition, state in held[node.table].items():
            if partition == WHOLE or known.get(partition, {}).get(_DATA_VERSION) == state.content_hash:
                continue
            recorded = why or f"later: run {state.run_id} ended between its commit and this event"
            report(instance, partition_events(key, partition, state, recorded=recorded))
            reported += 1
    return reported


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
