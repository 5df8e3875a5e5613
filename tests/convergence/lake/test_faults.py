import os
import random
import signal
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from convergence.lake.content_hash import content_hash
from convergence.lake.maintenance import vacuum
from convergence.lake.manifests import MANIFESTS, states
from convergence.lake.tables import Lake
from tests.convergence.lake.frames import TABLE, append, day, rows, values
from tests.convergence.lake.writers import (
    PROCESSES,
    generation,
    overwrite_for_ever,
    record_for_a_while,
    start,
    write_own_day,
    write_same_day,
)

KILLS = 20


def files(lake: Lake, table: str) -> set[str]:
    folder = Path(lake.uri(table))
    return {str(p.relative_to(folder)) for p in folder.rglob("*.parquet") if "_delta_log" not in p.parts}


def live(lake: Lake, table: str) -> set[str]:
    handle = lake.open(table)
    assert handle
    return set(pl.DataFrame(handle.get_add_actions())["path"])


def test_a_writer_killed_at_any_moment_leaves_one_whole_version_and_its_manifest(lake: Lake):
    moments, number = random.Random(20_240_101), 0
    for kill in range(KILLS):
        ready = PROCESSES.Event()
        writer = start(overwrite_for_ever, lake.root, number, kill % 3, ready)  # new or old table, warm or cold process
        assert ready.wait(60)
        time.sleep(moments.uniform(0, 0.05))
        assert writer.pid
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()

        handle = lake.open(TABLE)
        if handle is None or handle.version() == 0:
            continue
        frame = lake.scan(TABLE, [day(0)]).collect()
        (number,) = frame["value"].unique()
        (state,) = states(lake, [TABLE])[TABLE].values()
        assert content_hash(frame) == content_hash(generation(number)) == state.content_hash
        number += 1

    assert number >= KILLS / 2
    for table in (TABLE, MANIFESTS):
        vacuum(lake, table, retention=timedelta(0))
        assert files(lake, table) == live(lake, table)
    recorded = lake.scan(MANIFESTS).collect()["version"]
    assert sorted(recorded) == [c.version for c in lake.commits(TABLE)]


def finish(writers: list) -> None:
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * len(writers)


def test_four_processes_that_write_days_of_their_own_all_commit_and_record_everything(lake: Lake):
    together, times = PROCESSES.Barrier(4), 5

    finish([start(write_own_day, lake.root, number, times, together) for number in range(4)])

    assert values(lake) == [times - 1] * (1 + 2 + 3 + 4)
    recorded = lake.scan(MANIFESTS).collect()
    assert sorted(recorded["version"]) == [c.version for c in lake.commits(TABLE)]
    assert recorded.group_by("partition").len().sort("partition")["len"].to_list() == [times] * 4
    for number, (key, state) in enumerate(sorted(states(lake, [TABLE])[TABLE].items())):
        assert (key, state.content_hash) == (day(number), content_hash(rows(number, *[times - 1] * (number + 1))))


@pytest.mark.parametrize("attempt", range(3))
def test_of_processes_that_create_one_day_of_a_new_table_exactly_one_wins(lake: Lake, attempt: int):
    together, won = PROCESSES.Barrier(3), PROCESSES.Queue()

    finish([start(write_same_day, lake.root, number, together, won) for number in range(3)])

    outcomes = [won.get(timeout=10) for _ in range(3)]
    (winner,) = [o for o in outcomes if isinstance(o, int)]
    assert values(lake) == [winner]
    assert all("changed while you were writing" in o for o in outcomes if isinstance(o, str))


def test_processes_that_record_at_the_same_time_record_each_commit_once(lake: Lake):
    for number in range(10):
        append(lake, rows(0, number), offset=number + 1)
    together = PROCESSES.Barrier(3)
    recorders = [start(record_for_a_while, lake.root, 10, together) for _ in range(3)]
    for number in range(10, 16):
        append(lake, rows(0, number), offset=number + 1)
    finish(recorders)

    assert states(lake, [TABLE])[TABLE][day(0)].rows == 16
    assert sorted(lake.scan(MANIFESTS).collect()["version"]) == list(range(1, 17))
