"""How long after its arrival a message is in the lake, and how long until a feature that counts it is there."""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl

from benchmarks.data import roomiest
from benchmarks.live_producer import PARTITIONS, RATE
from benchmarks.measure import Row, Section
from benchmarks.stream import Small, broker, stream
from convergence.arrivals.kafka import Kafka
from convergence.arrivals.lander import follow
from convergence.errors import ServiceError
from convergence.lake.contracts import StrictColumns
from convergence.lake.manifests import Provenance, states
from convergence.lake.tables import Lake
from convergence.services.topics import create_topic
from convergence.versions.reconcile import stale_partitions
from resources.environments import ROOT
from resources.graph import lake_nodes
from resources.lake import LakeIOManager, lake_asset

TITLE = "From arrival to the lake"
GROUP = 1.0  # seconds between commits
TODAY = datetime.now(UTC).date()
DAILY = dg.DailyPartitionsDefinition(str(TODAY), end_offset=2)  # a run may pass midnight
TOPIC = stream(Small, "bench.live", first_day=TODAY, last_day=TODAY + timedelta(days=1))
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


class Spend(pa.DataFrameModel):
    """What a card spent on a day."""

    event_date: date
    card_id: int
    transactions: int = pa.Field(gt=0)
    amount: float
    newest: int = pa.Field(description="Highest transaction_id that is counted")

    class Config(StrictColumns):
        """Columns are as declared."""


@lake_asset(contract=Spend, ins={"transactions": dg.AssetIn(key_prefix="bench")}, partitions_def=DAILY,
            name="spend", key_prefix="bench", code_version="1", tags={"layer": "feature"})  # fmt: skip
def spend(transactions: pl.LazyFrame) -> pl.LazyFrame:
    return transactions.group_by("event_date", "card_id").agg(
        transactions=pl.len().cast(pl.Int64), amount=pl.col("amount").sum(), newest=pl.col("transaction_id").max()
    )


ARRIVALS = dg.AssetSpec(["bench", "transactions"], partitions_def=DAILY,
                        metadata={"dagster/table_name": TOPIC.table})  # fmt: skip


def landed_live(bootstrap: str, name: str, lake: Lake, seconds: float) -> None:
    """Land what a producer in a process of its own sends for `seconds` to a new topic of this name."""
    create_topic(bootstrap, name, PARTITIONS)
    command = [sys.executable, "-m", "benchmarks.live_producer", bootstrap, name, str(seconds)]
    landings: Any = follow(lake, replace(TOPIC, name=name), Kafka(bootstrap), Provenance("bench", "1"), seconds=GROUP)
    with subprocess.Popen(command, cwd=ROOT) as producer, closing(landings):
        for landed, behind in landings:
            if not landed.messages and not behind and producer.poll() is not None:
                return


def landed_after(lake: Lake) -> pl.Series:
    """Seconds from each message's stamp to the log entry of the commit that holds it, as the file system dates that."""
    log = Path(lake.uri(TOPIC.table), "_delta_log")
    commits = [
        (application, end, (log / f"{commit.version:020}.json").stat().st_mtime_ns // 1000)
        for commit in lake.commits(TOPIC.table)
        for application, (_, end) in commit.manifest.get("offsets", {}).items()
    ]
    at = pl.DataFrame(commits, schema={"source": pl.String, "end": pl.Int64, "at": pl.Int64}, orient="row").sort("end")
    rows = lake.scan(TOPIC.table).select("source", "event_time", end=pl.col("offset") + 1).collect().sort("end")
    return _settled(rows.join_asof(at, on="end", by="source", strategy="forward", check_sortedness=False))


def counted_after(lake: Lake, counted: pl.DataFrame) -> pl.Series:
    """Seconds from each message's stamp to the first feature that counts it; messages that none counts are left out."""
    rows = lake.scan(TOPIC.table).select("transaction_id", "event_time").collect().sort("transaction_id")
    found = rows.join_asof(counted, left_on="transaction_id", right_on="newest", strategy="forward")
    return _settled(found.drop_nulls("at"))


def reconciled(lake: Lake, location: dg.Definitions, instance: dg.DagsterInstance) -> bool:
    """What the reconcile sensor and the runs that it asks for do, once; whether anything was stale."""
    nodes = lake_nodes([*spend.specs, ARRIVALS])
    stale = stale_partitions(nodes, states(lake, [node.table for node in nodes]))
    job = location.resolve_job_def("features")
    for one in stale:
        assert job.execute_in_process(instance=instance, run_config=QUIET, partition_key=one.partition).success
    return bool(stale)


def counting(lake: Lake, landing: Future[None]) -> pl.DataFrame:
    """Keep the feature up to date while `landing` goes on; the newest message that it counted, and when that was."""
    location = dg.Definitions(
        assets=[spend, ARRIVALS],
        resources={"lake": LakeIOManager(root=lake.root)},
        jobs=[dg.define_asset_job("features", [spend])],
    )
    counted: list[tuple[int, int]] = []
    with dg.DagsterInstance.ephemeral() as instance:
        while not landing.done():
            if lake.open(TOPIC.table) and reconciled(lake, location, instance):
                at = time.time_ns() // 1000
                newest = lake.scan("bench/spend").select(pl.col("newest").max()).collect().item()
                counted.append((newest, at))
            else:
                time.sleep(0.05)
    landing.result()
    return pl.DataFrame(counted, schema={"newest": pl.Int64, "at": pl.Int64}, orient="row").sort("newest")


def section(*, quick: bool) -> Section:
    """A stream of its own for each of the two: features must not slow down the landing that is measured."""
    try:
        with broker() as bootstrap, tempfile.TemporaryDirectory(dir=roomiest(), prefix="bench-") as scratch:
            lake, later = (Lake(f"{scratch}/{name}") for name in ("landing", "features"))
            landed_live(bootstrap, "landing", lake, 12 if quick else 70)
            rows = [_row("landed", landed_after(lake), at_most=1.5)]
            with ThreadPoolExecutor(1) as thread:
                following = thread.submit(landed_live, bootstrap, "features", later, 12 if quick else 40)
                counted = counting(later, following)
            rows.append(_row("landed and counted by a feature", counted_after(later, counted)))
    except ServiceError as error:
        return Section(TITLE, f"Skipped: {error}", [])
    return Section(
        TITLE,
        f"{RATE:,} messages a second of about 75 bytes, stamped by a producer in a process of its own; `follow` "
        f"commits every {GROUP:g} s, as `convergence land` does. Landed: when the log entry of the commit that holds "
        "the message was written. Counted: when the day of a feature that sums a card's transactions had been made "
        "again by a run that the comparison of the reconcile sensor asked for, over and over in this process; the "
        "sensor's interval and the start of a run's process are not in it. The first five seconds are left out; "
        "broker, producer, lander and features share the machine.",
        rows,
    )


def _settled(found: pl.DataFrame) -> pl.Series:
    began = found.select(pl.col("event_time").min()).item()
    settled = found.filter(pl.col("event_time") > began + timedelta(seconds=5))
    return settled.select((pl.col("at") - pl.col("event_time").to_physical()) / 1e6).to_series()


def _row(case: str, seconds: pl.Series, at_most: float | None = None) -> Row:
    middle, most, worst = (seconds.quantile(q) for q in (0.5, 0.99, 1.0))
    assert most is not None, "no message was measured"
    goal, met = ("", None) if at_most is None else (f"p99 ≤ {at_most} s", most <= at_most)
    shown = f"p50 {middle:.2f} s, p99 {most:.2f} s, max {worst:.2f} s"
    return Row(f"{case}, {len(seconds):,} messages", shown, "", "", "", goal, met)
