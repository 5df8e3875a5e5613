"""Synthetic card transactions of 30 days, in event order, and where large tables are put."""

import shutil
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

FIRST_DAY = date(2024, 1, 1)
DAYS: Sequence[str] = [str(FIRST_DAY + timedelta(days=n)) for n in range(30)]


def transactions(rows: int, *, cards: int = 50_000, seed: int = 0) -> pl.DataFrame:
    """Amounts are log-normal cents, few cards make most transactions, and times are all different."""
    random = np.random.default_rng(seed)
    span = len(DAYS) * 86_400_000_000
    time = np.sort(random.integers(0, span - rows, rows)) + np.arange(rows)
    return pl.DataFrame(
        {
            "event_time": np.datetime64(FIRST_DAY, "us") + time.astype("timedelta64[us]"),
            "transaction_id": np.arange(rows),
            "card_id": (cards * random.power(2, rows)).astype(np.int64),
            "merchant_id": random.integers(0, 2_000, rows),
            "amount": np.round(random.lognormal(3, 1.2, rows), 2),
            "category": random.integers(1_000, 1_100, rows).astype(np.int32),
            "country": random.choice(np.array(["US", "DE", "FR", "IN", "BR"]), rows),
            "score": random.normal(size=rows),
            "distance": random.normal(size=rows),
        }
    ).with_columns(
        pl.col("event_time").dt.replace_time_zone("UTC"),
        pl.col("event_time").dt.date().alias("event_date"),
    )


def roomiest() -> Path:
    """Memory (tmpfs), free of the noise of a shared disk, where it has room for the largest table; else the disk."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 8 << 30
    return memory if roomy else Path(tempfile.gettempdir())
