"""What arrives: customers as the Telco sample publishes them, dealt to days by a replay clock.

The sample is one look at 7,043 customers and has no calendar. The clock looks at about 63 of them a day, in order of
tenure and then of the file: customer n of that order is looked at on day n mod 112. So every day has the same mix of
tenures, and nothing that the sample does not say can be learned from the time of a row: a trend between days would be
the clock's own.
"""

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from convergence.arrivals.topics import Topic
from convergence_assets.churn.contracts import RawCustomer

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2024, 4, 21)
DAYS = (LAST_DAY - FIRST_DAY).days + 1

_PUBLISHED = "churn/Telco-Customer-Churn.csv.gz"


def on_replay_clock(customers: pl.DataFrame) -> pl.DataFrame:
    """The customers in order of `tenure` and of the file, with `event_time`: about as many on each of DAYS days."""
    dealt = customers.sort("tenure", maintain_order=True).with_row_index("dealt")
    rounds = -(-customers.height // DAYS)
    day, within = pl.col("dealt").cast(pl.Int64) % DAYS, pl.col("dealt").cast(pl.Int64) // DAYS
    start = pl.lit(datetime.combine(FIRST_DAY, datetime.min.time()), pl.Datetime("us"))
    clock = start + pl.duration(days=day, seconds=within * (86_400 // max(rounds, 1)))
    return dealt.with_columns(event_time=clock).drop("dealt")


def history(data: Path | None) -> tuple[pl.LazyFrame, str]:
    """The published customers (columns customerID, gender, ...), or simulated ones, and their origin."""
    if data and (data / _PUBLISHED).exists():
        customers = pl.read_csv(data / _PUBLISHED, schema_overrides={"TotalCharges": pl.String})
        return on_replay_clock(customers).lazy(), "published: IBM Telco customer churn sample, on a replay clock"
    from convergence.arrivals.simulators.churn import simulate

    return on_replay_clock(simulate()).lazy(), "SIMULATED HERE: 7043 Telco-like customers, seed 0, on a replay clock"


TOPIC = Topic(
    name="churn.customers",
    table="churn/raw_customers",
    contract=RawCustomer,
    first_day=FIRST_DAY,
    last_day=LAST_DAY,
    late_after=timedelta(hours=48),
    silent_after=timedelta(hours=24),
    assumed_lateness=timedelta(0),
    clock="event_time",
    key="customerID",
    renames={},
    history=history,
)
