"""What a tick of the reconcile sensor costs on a large graph."""

import tempfile
from collections.abc import Sequence
from statistics import median

import dagster as dg
import polars as pl

from benchmarks.measure import Row, Section, Times, alternately, shown
from convergence.lake.manifests import inputs_digest, record, states
from convergence.lake.tables import Lake
from convergence.versions.reconcile import Stale, stale_partitions
from resources.graph import lake_nodes

CHAINS, LAYERS = 10, 5
DAILY = dg.DailyPartitionsDefinition("2022-01-01", end_date="2025-01-01")
DAYS = DAILY.get_partition_keys()
BACK = 7  # days that a partition reads of its upstream


def specs() -> list[dg.AssetSpec]:
    mapping = dg.TimeWindowPartitionMapping(start_offset=-BACK)
    return [
        dg.AssetSpec(
            ["bench", f"t{chain}_{layer}"],
            deps=[dg.AssetDep(["bench", f"t{chain}_{layer - 1}"], partition_mapping=mapping)] if layer else [],
            partitions_def=DAILY,
            code_version="1",
            metadata={"dagster/table_name": f"bench/t{chain}_{layer}"},
        )
        for chain in range(CHAINS)
        for layer in range(LAYERS)
    ]


def commit(lake: Lake, table: str, upstream: str | None, days: Sequence[str], mark: str = "") -> None:
    """A commit that holds manifests and no rows."""
    partitions = {}
    for day in days:
        at = DAYS.index(day)
        read = {d: f"sum128:1:{upstream}:{d}" for d in DAYS[max(0, at - BACK) : at + 1]}
        inputs = inputs_digest({upstream: read} if upstream else {})
        partitions[day] = {"rows": 1, "hash": f"sum128:1:{table}:{day}{mark}", "inputs": inputs}
    manifest = {"mode": "replace", "run_id": "bench", "code_version": "1", "origins": [], "partitions": partitions}
    nothing = pl.DataFrame(schema={"event_date": pl.Date, "value": pl.Int64})
    lake.replace(table, dict.fromkeys(days, nothing), manifest, lake.open(table))


def tick(lake: Lake) -> list[Stale]:
    nodes = lake_nodes(specs())
    return stale_partitions(nodes, states(lake, [node.table for node in nodes]))


def section(*, quick: bool) -> Section:
    with tempfile.TemporaryDirectory(prefix="bench-") as root:
        lake = Lake(root)
        for chain in range(CHAINS):
            for layer in range(LAYERS):
                commit(lake, f"bench/t{chain}_{layer}", f"bench/t{chain}_{layer - 1}" if layer else None, DAYS)
        record(lake, [f"bench/t{chain}_{layer}" for chain in range(CHAINS) for layer in range(LAYERS)])
        assert not tick(lake), "a graph in sync must have nothing stale"
        (in_sync,) = alternately(3 if quick else 7, lambda: tick(lake))
        commit(lake, "bench/t0_0", None, [DAYS[500]], mark="changed")
        ready = [s for s in tick(lake) if s.ready]
        assert [s.partition for s in ready] == DAYS[500 : 501 + BACK], "one changed day makes its readers stale"
        (changed,) = alternately(3 if quick else 7, lambda: tick(lake))
    count = CHAINS * LAYERS * len(DAYS)
    return Section(
        f"Reconcile, {count:,} partitions",
        f"{CHAINS * LAYERS} tables of {len(DAYS)} days in {CHAINS} chains; a day reads {BACK + 1} of its upstream. "
        "A tick makes the graph's nodes, looks for new commits, reads the manifests and compares them.",
        [_row("in sync", in_sync), _row("one day changed at the head of a chain", changed)],
    )


def _row(case: str, times: Times) -> Row:
    spread = f"{min(times.wall):.2f}-{max(times.wall):.2f} s"
    return Row(case, shown(times), "", spread, "", "≤ 0.5 s", median(times.wall) <= 0.5)
