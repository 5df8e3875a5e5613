"""Turns changed inputs into runs: level-triggered, so it misses nothing, and once per state, so it cannot loop."""

import json
import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from hashlib import blake2b

import dagster as dg

from convergence.lake.manifests import states
from convergence.lake.tables import WHOLE
from convergence.versions.reconcile import Node, Stale, stale_partitions
from resources.graph import lake_nodes
from resources.keys import key_of

FROM_STREAMS = frozenset({"dataset", "feature", "embedding"})  # a log alone says what they hold
# Profiles and drift follow features and scores by themselves, or nobody would be told of live drift; an index and its
# gate follow embeddings, or what arrives would not be found. Neither is made anew from a log beside what counts: a
# release of an index acts on what answers. Models and issued predictions only show that they are stale; what watches
# them waits for whoever issues them.
REBUILT = FROM_STREAMS | {"monitoring", "index"}

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    asset_selection=dg.AssetSelection.all(),  # `target` refuses assets with different partitions
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"lake"},
    description="Materializes datasets, features, indexes and monitoring tables whose inputs changed, nothing else.",
)
def reconcile(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Compare consumed with current content hashes; request what differs, is ready, is not running and is new."""
    began = time.perf_counter()
    assert context.repository_def
    nodes = lake_nodes(s for a in context.repository_def.assets_defs_by_key.values() for s in a.specs)
    lake = context.resources.lake.lake
    stale = stale_partitions(_rebuilt(nodes), states(lake, [n.table for n in nodes]), lake.generations)
    asked: dict[str, str] = json.loads(context.cursor or "{}")
    running = _running(context.instance)
    ready = [s for s in stale if s.ready and (s.table, s.partition) not in running]
    new = [s for s in ready if asked.get(_name(s)) != s.fingerprint]
    compared, seconds = sum(len(n.partitions) for n in nodes), time.perf_counter() - began
    if not new:
        return dg.SkipReason(
            f"compared {compared} partitions in {seconds:.2f} s: "
            + (
                f"{len(stale)} stale, of which {len(stale) - len(ready)} wait for an input or a run and "
                f"{len(ready)} were tried with these inputs before"
                if stale
                else "whatever is rebuilt by itself is in sync"
            )
        )
    remembered = {_name(s): asked[_name(s)] for s in stale if _name(s) in asked} | {
        _name(s): s.fingerprint for s in new
    }
    return dg.SensorResult(run_requests=list(run_requests(nodes, new)), cursor=json.dumps(remembered))


def run_requests(nodes: Sequence[Node], stale: Sequence[Stale]) -> Iterator[dg.RunRequest]:
    """One run per table and stretch of neighbouring partitions; the run key names the state that is answered."""
    for node in nodes:
        wanted = {s.partition: s for s in stale if s.table == node.table}
        stretch: list[Stale] = []
        for key in [*node.partitions, None]:
            if key in wanted:
                stretch.append(wanted[key])
            elif stretch:
                yield _request(node, stretch)
                stretch = []


def _request(node: Node, stretch: list[Stale]) -> dg.RunRequest:
    first, last = stretch[0].partition, stretch[-1].partition
    tags = {"cause": stretch[0].reason[:200]}
    if first != WHOLE:
        tags |= {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    marks = "".join(s.fingerprint for s in stretch)
    return dg.RunRequest(
        run_key=blake2b(marks.encode(), digest_size=12).hexdigest(),
        asset_selection=[key_of(table) for table in (*node.steps, node.table)],
        tags=tags,
    )


def _rebuilt(nodes: Sequence[Node]) -> list[Node]:
    return [n for n in nodes if n.layer in REBUILT]


def _name(stale: Stale) -> str:
    return f"{stale.table}|{stale.partition}"


def _running(instance: dg.DagsterInstance) -> set[tuple[str, str]]:
    """The partitions that a queued or running run will write."""
    held: set[tuple[str, str]] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        first = run.tags.get("dagster/asset_partition_range_start", run.tags.get("dagster/partition", WHOLE))
        last = run.tags.get("dagster/asset_partition_range_end", first)
        for key in run.asset_selection or _planned(instance, run):
            held |= {("/".join(key.path), k) for k in _between(first, last)}
    return held


def _planned(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[dg.AssetKey]:
    """The assets of a run that was started as a job and so names none."""
    planned = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    return {e.dagster_event.asset_key for e in planned if e.dagster_event and e.dagster_event.asset_key}


def _between(first: str, last: str) -> list[str]:
    if first == last:
        return [first]
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [str(begin + timedelta(days=n)) for n in range((end - begin).days + 1)]
