"""What arrives: images, their captions, and functions, dealt to days by a replay clock.

The published sets have no calendar (COCO's images were taken within two weeks). The clock deals images, Python and Java
functions to 14 days like cards, in the order of their files, a caption a minute after its image: so every day has the
same mix, and a drift between days would be the clock's own.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from convergence.arrivals.topics import Topic
from convergence_assets.semantic_search.contracts import RawItem

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2024, 1, 14)
DAYS = (LAST_DAY - FIRST_DAY).days + 1

FOLDER = "semantic_search"
IMAGES, PYTHON, JAVA = (f"{FOLDER}/{name}.parquet" for name in ("coco_index", "cosqa_code_corpus", "concode_java_dev"))
ORIGIN = "published: COCO images and captions (sample), CoSQA Python functions, CONCODE Java methods; on a replay clock"
SIMULATED = "SIMULATED HERE: drawn shapes with captions, small functions, seed 0"
_COLUMNS = ("time", "item_id", "modality", "title", "text", "code", "language", "object_uri", "object_sha256",
            "parent_id", "licence")  # fmt: skip


def history(data: Path | None) -> tuple[pl.LazyFrame, str]:
    """The published images, captions and functions as messages, or drawn and made up ones, and their origin."""
    if data and (data / IMAGES).exists():
        images = pl.scan_parquet(data / IMAGES).sort("image_id")
        python = pl.scan_parquet(data / PYTHON).sort("retrieval_idx")
        java = pl.scan_parquet(data / JAVA).sort("row")
        found = (_images(images), _captions(images), _python(python), _java(java))
        return pl.concat([f.select(_COLUMNS) for f in found]).sort("time", maintain_order=True), ORIGIN
    from convergence.arrivals.simulators.search import simulate

    return simulate().select(_COLUMNS).lazy(), SIMULATED


def _dealt(rows: pl.LazyFrame, hour: int) -> pl.LazyFrame:
    """Rows with `time`: the n-th on day n mod DAYS, from `hour` on, a second after the one before it on that day."""
    start = pl.lit(datetime.combine(FIRST_DAY, datetime.min.time(), UTC), pl.Datetime("us", "UTC"))
    n = pl.int_range(pl.len())
    return rows.with_columns(time=start + pl.duration(days=n % DAYS, hours=hour, seconds=n // DAYS * 5))


def _absent(*names: str) -> list[pl.Expr]:
    return [pl.lit(None, pl.String).alias(name) for name in names]


def _images(rows: pl.LazyFrame) -> pl.LazyFrame:
    return _dealt(rows, 6).select(
        "time",
        *_absent("text", "code", "language", "parent_id"),
        item_id=pl.format("image-{}", "image_id"),
        modality=pl.lit("image"),
        title=pl.col("file").str.split("/").list.last(),
        object_uri=pl.format("published:{}/{}", pl.lit(FOLDER), "file"),
        object_sha256="sha256",
        licence="licence",
    )


def _captions(rows: pl.LazyFrame) -> pl.LazyFrame:
    numbered = _dealt(rows, 6).explode("captions").with_columns(n=pl.int_range(pl.len()).over("image_id"))
    return numbered.select(
        *_absent("title", "code", "object_uri", "object_sha256"),
        time=pl.col("time") + pl.duration(minutes=1, microseconds="n"),
        item_id=pl.format("caption-{}-{}", "image_id", "n"),
        modality=pl.lit("text"),
        text=pl.col("captions").str.strip_chars(),
        language=pl.lit("en"),
        parent_id=pl.format("image-{}", "image_id"),
        licence=pl.lit("CC BY 4.0"),
    )


def _python(rows: pl.LazyFrame) -> pl.LazyFrame:
    return _dealt(rows, 8).select(
        "time",
        "code",
        "language",
        *_absent("object_uri", "object_sha256", "parent_id"),
        item_id=pl.format("python-{}", "retrieval_idx"),
        modality=pl.lit("code"),
        title="func_name",
        text="docstring",
        licence=pl.lit("MIT (CoCLR)"),
    )


def _java(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Methods alone: their documentation is what they are searched by, so it is no part of them."""
    return _dealt(rows, 14).select(
        "time",
        "code",
        "language",
        *_absent("title", "text", "object_uri", "object_sha256", "parent_id"),
        item_id=pl.format("java-{}", "row"),
        modality=pl.lit("code"),
        licence=pl.lit("C-UDA 1.0"),
    )


TOPIC = Topic(
    name="search.items",
    table="semantic_search/raw_items",
    contract=RawItem,
    first_day=FIRST_DAY,
    last_day=LAST_DAY,
    late_after=timedelta(hours=48),
    silent_after=timedelta(hours=24),
    assumed_lateness=timedelta(0),
    clock="time",
    key="item_id",
    renames={"time": "event_time"},
    history=history,
)
