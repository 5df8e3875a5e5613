"""A backfill that was killed goes on where it stopped and ends where an undisturbed one ends."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from convergence.lake.manifests import states
from convergence.lake.tables import Lake
from convergence.versions.reconcile import Stale, stale_partitions
from resources.graph import lake_nodes
from sensors.reconcile import run_requests
from tests.resources.long_backfill import DAYS, chain
from tests.resources.readings import hashes, held, materialize

ROOT = Path(__file__).parents[2]


def killed_backfill(folder: str, seed: int) -> None:
    """Runs the backfill in a process of its own and kills it somewhere after its second run."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.resources.long_backfill", folder]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for _ in range(2):
        process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.4))
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def missing(lake: Lake) -> list[Stale]:
    nodes = lake_nodes(spec for asset in chain() for spec in asset.specs)
    return stale_partitions(nodes, states(lake, [n.table for n in nodes]))


def resume(lake: Lake, instance: dg.DagsterInstance) -> None:
    """The days that the root lacks, as a person asks for them, then what reconcile asks for until it is content."""
    assets = {asset.key: asset for asset in chain()}
    root = chain()[0]
    absent = [day for day in DAYS if day not in held(lake, root)]
    materialize(list(assets.values()), lake, instance, absent[0], absent[-1], only=[assets[root.key]])
    nodes = lake_nodes(spec for asset in assets.values() for spec in asset.specs)
    while ready := [s for s in missing(lake) if s.ready]:
        for request in run_requests(nodes, ready):
            (key,) = request.asset_selection or ()
            days = (
                request.tags["dagster/asset_partition_range_start"],
                request.tags["dagster/asset_partition_range_end"],
            )
            assert materialize(list(assets.values()), lake, instance, *days, only=[assets[key]]).success


@pytest.mark.parametrize("seed", [1])
def test_a_killed_backfill_is_resumed_without_a_trace(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path, seed: int
) -> None:
    killed_backfill(lake.root, seed)
    before = [held(lake, asset) for asset in chain()]
    assert 0 < len(before[0]) < len(DAYS)

    resume(lake, instance)

    undisturbed = Lake(str(tmp_path / "undisturbed"))
    materialize(chain(), undisturbed, instance, DAYS[0], DAYS[-1])
    for asset, already_there in zip(chain(), before, strict=True):
        assert hashes(lake, asset) == hashes(undisturbed, asset)
        now = held(lake, asset)
        assert {day: now[day].version for day in already_there} == {d: s.version for d, s in already_there.items()}
