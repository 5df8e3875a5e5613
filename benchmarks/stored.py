"""What it costs that commits are on the disk when they are told, and that reads and nights look for damage."""

import shutil
import tempfile
from functools import partial
from itertools import count
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from benchmarks.data import transactions
from benchmarks.measure import Section, alternately, compare
from convergence.lake.durable import wait_for_the_disk
from convergence.lake.manifests import Provenance, build_manifest, record
from convergence.lake.tables import Lake, by_day
from convergence.lake.verification import refuse_damaged, verify

TABLE, COPY, SMALL, MADE = "bench/table", "bench/copy", "bench/small", Provenance("bench", "1")
COMMITS = 50


def write(lake: Lake, table: str, rows: pl.DataFrame) -> None:
    """As a run writes: hashes, one commit, the record of it."""
    parts = by_day(rows)
    lake.replace(table, parts, build_manifest(parts, "replace", MADE), lake.open(table))
    record(lake, [table])


def commits(lake: Lake, rows: pl.DataFrame, offsets: "count[int]", *, wait: bool) -> None:
    """Small appends one after the other, as a lander makes them; `wait`: for the disk."""
    wait_for_the_disk(wait=wait)
    for _ in range(COMMITS):
        manifest = build_manifest(by_day(rows), "append", MADE)
        lake.append(SMALL, rows, manifest, {"topic/0": next(offsets)}, lake.open(SMALL), dated=True)
    wait_for_the_disk(wait=True)


def check(lake: Lake) -> None:
    """What a run does for each input before it reads it."""
    handle = lake.open(TABLE)
    assert handle
    refuse_damaged(lake, TABLE, handle, None)


def section(*, quick: bool) -> Section:
    frame, turns = transactions(1_000_000), 5 if quick else 9
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        lake, offsets = Lake(str(Path(scratch, "lake"))), count(1)
        write(lake, TABLE, frame)
        small = frame.head(1_000)
        waits, goes_on = alternately(
            turns,
            *(partial(commits, lake, small, offsets, wait=wait) for wait in (True, False)),
            before=lambda: shutil.rmtree(lake.uri(SMALL), ignore_errors=True),
        )
        opened, plain = alternately(turns * 5, lambda: lake.open(TABLE), lambda: DeltaTable(lake.uri(TABLE)))
        read = lake.scan(TABLE).collect
        run = partial(lambda: write(lake, COPY, read()))
        checked, ran = alternately(turns, partial(check, lake), run)
        verified, reading = alternately(turns, partial(verify, lake, TABLE), read)
        assert not verify(lake, TABLE).damages
    return Section(
        "Durable commits and verified rows",
        f"On the disk of the temporary folder. {COMMITS} commits of 1,000 rows each: with every file, log entry and "
        "folder waited for (`fsync`), against CONVERGENCE_DURABLE=off. Opening a table: with the look at what was "
        "acknowledged, against delta-rs alone. 1 M rows, 10 columns, 30 days: the checksums of a run's input, against "
        "the run that reads all of it and writes as much (no Dagster, no features); and `convergence verify`, every "
        "row and its hash, against reading the rows.",
        [
            compare(f"{COMMITS} commits, waited for", waits, goes_on),
            compare("opening a table", opened, plain),
            compare("checksums of what a run reads", checked, ran, at_most=0.1),
            compare("verify", verified, reading),
        ],
    )
