"""The fraud features online: the asset that fills their store, and the proof that served is what batch gives."""

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pandera.polars as pa
import polars as pl

from convergence.features.online_store import OnlineStore
from convergence.features.online_updates import fill
from convergence.lake.contracts import StrictColumns, schema_of
from convergence.lake.tables import Lake
from convergence.serving.parity import ParityBroken, differences, served_lines
from convergence_assets.fraud.arrivals import TOPIC
from convergence_assets.fraud.contracts import Time
from convergence_assets.fraud.feature_views import TRANSACTION_FEATURES
from convergence_assets.fraud.requests import FEATURES
from resources.keys import key_of
from resources.lake import lake_asset

PARITY_ROWS = 300  # of a day, evenly spread


class OnlineState(pa.DataFrameModel):
    """One filling of the online store."""

    namespace: str = pa.Field(description="Where in the store the states are")
    fingerprint: str = pa.Field(description="Of the view's declaration and the types of its sources")
    raw_version: int = pa.Field(ge=0, description="Version of the raw table up to which everything is in the states")
    exact_from: Time = pa.Field(
        description="Earliest event time that is answered exactly", metadata={"from": ["raw_transactions.event_time"]}
    )
    newest_event: Time = pa.Field(
        description="Event time of the newest transaction in the states",
        metadata={"from": ["raw_transactions.event_time"]},
    )
    entities: int = pa.Field(
        gt=0,
        description="Customers and terminals with a state",
        metadata={"from": ["raw_transactions.customer_id", "raw_transactions.terminal_id"]},
    )
    filled_at: Time = pa.Field(description="When it was complete")
    seconds: float = pa.Field(ge=0, description="How long it took", metadata={"unit": "s"})

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": "measured while the store is filled"}


def fill_online(lake: Lake, store: OnlineStore) -> pl.DataFrame:
    """Fill a new namespace from all that has landed; one OnlineState row. Raises as `online_updates.fill` does."""
    began = time.perf_counter()
    namespace = fill(lake, FEATURES, store)
    meta = store.read(namespace, ()).meta
    row = {
        "namespace": namespace,
        "fingerprint": store.layout.fingerprint,
        "raw_version": meta.version,
        "exact_from": meta.floor,
        "newest_event": meta.newest,
        "entities": meta.entities,
        "filled_at": datetime.now(UTC),
        "seconds": time.perf_counter() - began,
    }
    return pl.DataFrame([row]).cast(dict(schema_of(OnlineState)))  # pyright: ignore[reportArgumentType]


def _told(rows: pl.DataFrame) -> dict[str, object]:
    return {"namespace": rows["namespace"][0], "entities": rows["entities"][0], "raw_version": rows["raw_version"][0]}


@lake_asset(
    contract=OnlineState,
    describe=_told,
    deps=[key_of(TOPIC.table)],
    code_version="1",
    key_prefix="fraud",
    group_name="fraud",
    owners=["team:fraud"],
    kinds={"redis", "polars"},
    tags={"layer": "operations", "not_partitioned": "the-store-holds-what-is-recent"},
    required_resource_keys={"lake", "online"},
)
def online_state(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """Recent events of each customer and terminal, in Redis for serving.

    Fills a new namespace from all that has landed while the last one is served, then points to it. `convergence
    features follow` keeps it in step with landing; this asset is for the first time and after history was rewritten.
    """
    store = OnlineStore(context.resources.online.client(), FEATURES.online.layout)
    return fill_online(context.resources.lake.lake, store)


class ServedParity(pa.DataFrameModel):
    """How far what was served agrees with what the batch computes, by feature."""

    feature: str = pa.Field(unique=True, description="Of the view that is served")
    rows: int = pa.Field(gt=0, description="Served rows that were made again as of the offsets of their state")
    differing: int = pa.Field(ge=0, description="Rows that had been served with another value, to the last bit")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": "the log of what was served beside the same rows made again"}


def parity(lake: Lake, served: Path) -> pl.DataFrame:
    """ServedParity rows of the newest day of the log in `served`. Raises ParityBroken, which names the features."""
    lines = served_lines(served, PARITY_ROWS)
    if not lines:
        raise ParityBroken(f"nothing was served, or all of it on defaults: {served} has no line to compare")
    found = differences(lake, FEATURES, lines)
    wrong = Counter(one.feature for one in found)
    if found:
        first = found[0]
        raise ParityBroken(
            f"{len({one.request_id for one in found})} of {len(lines)} served rows differ from the batch in "
            f"{', '.join(wrong)}; e.g. {first.feature} of request {first.request_id} was served as {first.served!r}, "
            f"the batch gives {first.expected!r}. Fill the online state anew; if they differ again, it is computed "
            "in two ways"
        )
    columns = {"feature": TRANSACTION_FEATURES.features, "rows": len(lines), "differing": 0}
    return pl.DataFrame(columns).cast(dict(schema_of(ServedParity)))  # pyright: ignore[reportArgumentType]


@lake_asset(
    contract=ServedParity,
    describe=lambda rows: {"features": rows.height, "rows_compared": int(rows["rows"][0])},
    deps=[online_state],
    code_version="1",
    key_prefix="fraud",
    group_name="fraud",
    owners=["team:fraud"],
    kinds={"python", "polars"},
    tags={"layer": "operations", "not_partitioned": "the-newest-day-that-was-served"},
    required_resource_keys={"lake", "online"},
)
def served_parity(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """What was served, made again from the lake as of the offsets of its state.

    Fails, naming the features, when one served value differs from the batch in its last bit.
    """
    folder = Path(context.resources.online.home) / "served" / TRANSACTION_FEATURES.name
    return parity(context.resources.lake.lake, folder)
