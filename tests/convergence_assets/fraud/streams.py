"""A small stream of card transactions that lands in parts: in order, late, repeated and corrected."""

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import polars as pl

from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.lander import Landed, land
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from convergence_assets.fraud.arrivals import TOPIC
from convergence_assets.fraud.datasets import label_rows, transaction_rows
from convergence_assets.fraud.features import feature_rows
from tests.convergence_assets.fraud.worlds import messages

DAYS = 42
CUT = datetime(2018, 5, 11, tzinfo=UTC)  # what happened before it is history
END = datetime(2018, 5, 13, tzinfo=UTC)


@cache
def stream() -> pl.DataFrame:
    """Messages with the time each arrived, up to END; a tenth of the last two days comes hours late."""
    told = messages(customers=40, terminals=80, days=DAYS).with_row_index("n")
    clock = pl.col("TX_DATETIME")
    late = (pl.col("n") % 10 == 0) & (clock >= CUT.replace(tzinfo=None))
    arrived = pl.when(late).then(clock + timedelta(hours=9)).otherwise(clock)
    return told.with_columns(arrived_at=arrived.dt.replace_time_zone("UTC")).drop("n").sort("arrived_at")


def history() -> pl.DataFrame:
    return stream().filter(pl.col("arrived_at") < CUT)


def live(parts: int = 4) -> list[pl.DataFrame]:
    """What arrives after the cut, in parts; each also repeats and corrects some of what came before it."""
    rest = stream().filter(pl.col("arrived_at") >= CUT)
    size = -(-rest.height // parts)
    pieces = [rest[n : n + size] for n in range(0, rest.height, size)]
    told = [pieces[0]]
    for before, piece in pairwise(pieces):
        repeated = before[::7]
        wrong = before[3::11]
        corrected = wrong.with_columns(
            CUSTOMER_ID=(pl.col("CUSTOMER_ID") + 1) % 40,
            TX_AMOUNT=pl.col("TX_AMOUNT") + 1,
            arrived_at=pl.lit(piece["arrived_at"][0]),
        )
        told.append(pl.concat([repeated, corrected, piece]))
    return told


def landed(lake: Lake, inbox: Path, name: str, rows: pl.DataFrame) -> Landed:
    """Land one file."""
    folder = inbox / TOPIC.name
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / f"{name}.parquet")
    return land(lake, TOPIC, DropFolder(inbox), Provenance("test", ""))


def batch(lake: Lake, start: datetime, version: int | None = None) -> pl.DataFrame:
    """The features of the landed transactions from `start` on, as the batch makes them."""
    raw = lake.scan(TOPIC.table, version=version)
    return feature_rows(transaction_rows(raw), label_rows(raw), start, END)
