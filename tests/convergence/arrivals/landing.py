"""A small topic, files of its messages, and landers in processes of their own."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated, Any

import pandera.polars as pa
import polars as pl

from convergence.arrivals.codecs import Messages
from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.files import decode
from convergence.arrivals.lander import Landed, land
from convergence.arrivals.topics import Topic
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake

Time = Annotated[pl.Datetime, "us", "UTC"]
Message = dict[str, Any]

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 10)
NOON = datetime(2024, 1, 5, 12, tzinfo=UTC)
TICK, HOUR = timedelta(microseconds=1), timedelta(hours=1)
TABLE = "shop/raw_payments"
REJECTED, LATE = f"{TABLE}_rejected", f"{TABLE}_late"


class RawPayment(pa.DataFrameModel):
    event_date: date
    event_time: Time
    arrived_at: Time
    payment_id: int = pa.Field(ge=0)
    amount: float = pa.Field(ge=0, le=100)
    refunded: bool
    note: str = pa.Field(nullable=True)
    source: str
    offset: int

    class Config:
        strict = True


TOPIC = Topic(
    name="shop.payments",
    table=TABLE,
    contract=RawPayment,
    first_day=FIRST,
    last_day=LAST,
    late_after=2 * HOUR,
    assumed_lateness=HOUR,
    renames={"ID": "payment_id"},
    history=lambda _: (pl.LazyFrame(), "nowhere"),
    clock="event_time",
    key="ID",
)


def message(number: int = 1, **changes: Any) -> Message:
    """A message that keeps the contract, with changes; None as a change takes the field away."""
    whole = {"ID": number, "event_time": NOON.isoformat(), "amount": 1.5, "refunded": False, "note": "n"} | changes
    return {k: v for k, v in whole.items() if v is not None}


def drop(root: Path, name: str, *messages: Message | str) -> Path:
    """A file of JSON lines in the topic's folder; text stands for itself."""
    folder = root / TOPIC.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(m if isinstance(m, str) else json.dumps(m) for m in messages))
    return folder / name


def application(path: Path) -> str:
    return f"file/{TOPIC.name}/{sha256(path.read_bytes()).hexdigest()}"


def decoded(path: Path) -> Messages:
    """A file's messages, with the columns of the topic."""
    return decode(path, TOPIC.columns)


def landed(lake: Lake, inbox: Path, topic: Topic = TOPIC, **more: Any) -> Landed:
    """Land with a lander that remembers nothing."""
    return land(lake, topic, DropFolder(inbox), Provenance("run", "1"), **more)


def rows(lake: Lake, table: str) -> pl.DataFrame:
    """What a table holds, by source and offset; empty where it does not exist."""
    if lake.open(table) is None:
        return pl.DataFrame(schema={"source": pl.String, "offset": pl.Int64, "payment_id": pl.Int64})
    return lake.scan(table).sort("source", "offset").collect()


def places(lake: Lake) -> Counter[tuple[str, int, str]]:
    """How often each message (source, offset) is in each table."""
    return Counter(
        (source, offset, table)
        for table in (TABLE, LATE, REJECTED)
        for source, offset in rows(lake, table).select("source", "offset").iter_rows()
    )


def mixed_files(inbox: Path, files: int = 1, of: int = 4) -> int:
    """Files in which each kind of message occurs `of` times; returns how many messages."""
    for number in range(files):
        first = number * 1000
        good = [message(first + n) for n in range(of)]
        late = [message(first + 100 + n, arrived_at="2024-01-06T12:00:00Z") for n in range(of)]
        bad = [message(first + 200 + n, amount=-1) for n in range(of)]
        drop(inbox, f"{number}.jsonl", *(m for three in zip(good, late, bad, strict=True) for m in three))
    return files * of * 3


def land_until(lake_root: str, inbox: str, nth: int, when: str) -> None:
    """Land, and die just before or just after the n-th commit (manifest records included)."""
    commits, append = [0], Lake.append

    def dying(lake: Lake, *args: Any, **more: Any) -> None:
        commits[0] += 1
        if commits[0] == nth and when == "before":
            os._exit(9)
        append(lake, *args, **more)
        if commits[0] == nth:
            os._exit(9)

    Lake.append = dying  # this process has no other use
    landed(Lake(lake_root), Path(inbox))


def land_together(lake_root: str, inbox: str, barrier: Barrier) -> None:
    """Land in many small commits, at the same time as somebody else."""
    barrier.wait()
    landed(Lake(lake_root), Path(inbox), batch_rows=1)


def topic_with(**changes: Any) -> Topic:
    """The topic with other rules."""
    return replace(TOPIC, **changes)


def before_each(lake_append: Callable[..., None], do: Iterable[Callable[[], object]]) -> Callable[..., None]:
    """`Lake.append` that first does the next thing of `do`."""
    todo = iter(do)

    def append(*args: Any, **more: Any) -> None:
        next(todo, lambda: None)()
        lake_append(*args, **more)

    return append
