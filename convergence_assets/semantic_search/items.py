"""From raw messages to items without repeats, and images that were decoded and kept."""

import json
from collections.abc import Callable

import dagster as dg
import polars as pl

from convergence.errors import FetchRefused, ImageRefused
from convergence.lake.contracts import REJECTED, schema_of
from convergence.objects.intake import Taken, take_in
from convergence_assets.partitions import daily
from convergence_assets.semantic_search.arrivals import FIRST_DAY, LAST_DAY
from convergence_assets.semantic_search.contracts import CONTENT, SearchImage, SearchItem
from resources.lake import Described, lake_asset

DAILY = daily(FIRST_DAY, LAST_DAY)
OWNED = {"key_prefix": "semantic_search", "group_name": "semantic_search", "owners": ["team:semantic_search"]}

_NAMED = ("item_id", "title", "object_uri", "object_sha256")  # what a quarantined image is known by


def content_hash() -> pl.Expr:
    """SHA-256 of what is embedded of an item, in hex."""
    # JSON tells a missing value from an empty one, and one column's end from the next one's beginning
    return pl.struct(CONTENT).struct.json_encode().map_batches(_sha256, return_dtype=pl.String)


def _sha256(texts: pl.Series) -> pl.Series:
    from hashlib import sha256

    return pl.Series([sha256(text.encode()).hexdigest() for text in texts], dtype=pl.String)


def newest(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Of rows of several days each item as it was sent last, in the order of ids."""
    return rows.sort("event_time", "arrived_at").unique("item_id", keep="last").sort("item_id")


def item_rows(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row per day and item: repeats are dropped, of corrections the one that arrived last wins.

    Languages are in lower case, as searches name them.
    """
    once = raw.sort("arrived_at", "source", "offset").unique(["event_date", "item_id"], keep="last")
    hashed = once.with_columns(pl.col("language").str.to_lowercase(), content_hash=content_hash())
    return hashed.select(schema_of(SearchItem).names()).sort("event_time", "item_id")


@lake_asset(contract=SearchItem, ins={"raw_items": dg.AssetIn(key_prefix="semantic_search")}, partitions_def=DAILY,
            code_version="2", kinds={"polars", "deltalake"}, tags={"layer": "dataset"}, **OWNED)  # fmt: skip
def search_items(raw_items: pl.LazyFrame) -> pl.LazyFrame:
    """Texts, images and functions as they are to be found.

    Grain: item, on the day that it came into being. An item that is sent again on a later day is that day's; an index
    takes the newest. The content hash is what embeddings are kept by.
    """
    return item_rows(raw_items)


def taken_in(items: pl.DataFrame, take: Callable[[str, str | None], Taken]) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """SearchImage rows of image items, rows to set aside with the reason, and how many images were new."""
    kept, refused, new = [], [], 0
    for item in items.iter_rows(named=True):
        try:
            taken = take(item["object_uri"], item["object_sha256"])
        except (FetchRefused, ImageRefused) as error:
            row = json.dumps({name: item[name] for name in _NAMED})
            refused.append((item["event_date"], error.reason, row))
            continue
        new += taken.new
        kept.append({**item, **taken._asdict()})
    columns = schema_of(SearchImage)
    rows = pl.DataFrame([{name: row[name] for name in columns} for row in kept], schema=columns)
    return rows, pl.DataFrame(refused, schema=REJECTED, orient="row"), new


@lake_asset(contract=SearchImage, ins={"search_items": dg.AssetIn(key_prefix="semantic_search")}, partitions_def=DAILY,
            required_resource_keys={"objects"}, code_version="1", kinds={"python", "deltalake"},
            tags={"layer": "dataset"}, **OWNED)  # fmt: skip
def search_images(context: dg.AssetExecutionContext, search_items: pl.LazyFrame) -> Described:
    """Images that are whole, of a known format, and in the object store.

    Grain: image. Each is fetched from where its message says, compared with the hash that the message gives, decoded in
    a child process with little memory and time, and kept under its own hash. What is damaged, too large or hostile
    waits in semantic_search/search_images_rejected with the reason.
    """
    objects = context.resources.objects
    fetcher = objects.fetcher
    items = search_items.filter(pl.col("modality") == "image").sort("event_time", "item_id").collect()
    with objects.decoder() as decoder:
        rows, set_aside, new = taken_in(items, lambda uri, name: take_in(uri, name, fetcher, objects.store, decoder))
    context.log.info(f"{rows.height} images, {new} new in {objects.name}, {set_aside.height} set aside")
    days = {str(day): {"object_store": objects.name} for day in rows["event_date"].unique()}
    return Described(rows, days, set_aside=set_aside)
