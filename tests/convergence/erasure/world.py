"""A shop whose customers have names that occur nowhere else, so that a scan of all bytes tells whether one is left."""

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pandera.polars as pa
import polars as pl

from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.lander import Landed, land
from convergence.arrivals.topics import Topic
from convergence.erasure.erase import Keepers
from convergence.erasure.files import KeptModels, Ledgers, ServedLines
from convergence.erasure.subjects import Subject
from convergence.lake.contracts import StrictColumns
from convergence.lake.manifests import InputRead, Provenance, build_manifest, record, states
from convergence.lake.tables import Lake, by_day

Time = Annotated[pl.Datetime, "us", "UTC"]

WHO, OTHER = "canary-7f3a-erika", "canary-1b2c-max"
RAW, ORDERS = "shop/raw_orders", "shop/orders"
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
MADE = Provenance("run", "1")


class RawOrder(pa.DataFrameModel):
    event_date: date
    event_time: Time
    arrived_at: Time
    customer: str = pa.Field(metadata={"pii": "identifier", "subject": "customer"})
    amount: float = pa.Field(ge=0, le=100)
    source: str
    offset: int

    class Config(StrictColumns):
        """Columns are as declared."""


TOPIC = Topic(
    name="shop.orders",
    table=RAW,
    contract=RawOrder,
    first_day=date(2024, 1, 1),
    last_day=date(2024, 1, 10),
    late_after=timedelta(hours=2),
    assumed_lateness=timedelta(0),
    renames={"customerID": "customer"},
    history=lambda _: (pl.LazyFrame(), "nowhere"),
    clock="event_time",
    key="customerID",
)


def order(customer: str, *, days: int = 0, **changes: Any) -> dict[str, Any]:
    at = (NOON + timedelta(days=days)).isoformat()
    return {"customerID": customer, "event_time": at, "arrived_at": at, "amount": 5.0} | changes


def orders(*more: dict[str, Any]) -> list[dict[str, Any]]:
    """Three days of both customers: on time, late and unusable."""
    usual = [order(who, days=n, amount=float(n)) for n in range(3) for who in (WHO, OTHER)]
    late = [order(who, arrived_at=(NOON + timedelta(days=3)).isoformat()) for who in (WHO, OTHER)]
    return [*usual, *late, *(order(who, amount=-1) for who in (WHO, OTHER)), *more]


def dropped(inbox: Path, name: str, messages: list[dict[str, Any]]) -> Path:
    """A file of these messages in the format that its name says."""
    folder = inbox / TOPIC.name
    folder.mkdir(parents=True, exist_ok=True)
    frame, file = pl.DataFrame(messages), folder / name
    if name.endswith(".parquet"):
        frame.write_parquet(file, metadata={"origin": "a test"})
    elif name.endswith(".csv"):
        frame.write_csv(file)
    elif name.endswith(".csv.gz"):
        file.write_bytes(gzip.compress(frame.write_csv().encode()))
    else:
        file.write_text("".join(f"{json.dumps(message)}\n" for message in messages))
    return file


def landed(lake: Lake, inbox: Path) -> Landed:
    return land(lake, TOPIC, DropFolder(inbox), MADE)


def derive(lake: Lake) -> None:
    """The orders without what landing added, made day by day from the raw table as an asset makes them."""
    base, handle = lake.open(ORDERS), lake.open(RAW)
    assert handle
    parts = by_day(lake.scan(RAW).drop("source", "offset").collect())
    held = {key: state.content_hash for key, state in states(lake, [RAW])[RAW].items()}
    made = Provenance(
        "derive", "1", inputs={RAW: InputRead(handle.version(), held)}, reads={k: {RAW: [k]} for k in parts}
    )
    lake.replace(ORDERS, parts, build_manifest(parts, "replace", made), base)
    record(lake, [ORDERS])


def subject(who: str = WHO) -> Subject:
    return Subject("customer", who, {RAW: "customer", ORDERS: "customer"}, {RAW: "customerID"})


def keepers(lake: Lake, home: Path) -> Keepers:
    stores = [ServedLines(home / "served"), Ledgers(home / "ledgers"), KeptModels(lake.store)]
    return Keepers(lake, home / "inbox", [TOPIC], stores)


def customers(lake: Lake) -> dict[str, set[str]]:
    """Who is in each table."""
    found = {}
    for table in (RAW, f"{RAW}_late", ORDERS):
        if lake.open(table):
            found[table] = set(lake.scan(table).collect()["customer"])
    return found


def naming(folder: Path, who: str = WHO) -> list[str]:
    """The files below a folder that hold a text: as it is, zipped, or within Parquet, whose pages are compressed."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        rows = str(pl.read_parquet(content).to_dicts()).encode() if path.suffix == ".parquet" else b""
        if who.encode() in plain or who.encode() in rows or who in path.name:
            found.append(str(path.relative_to(folder)))
    return found
