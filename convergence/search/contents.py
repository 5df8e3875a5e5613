"""What a snapshot holds, item by item: it names the snapshot, and tells what the next one need not write again."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import polars as pl

from convergence.errors import SearchError
from convergence.search.backends import POINT

Points = Mapping[str, pl.DataFrame]  # modality -> columns of POINT, `content_hash` and `encoder`

IDENTITY = ("item_id", "content_hash", "encoder")
ITEM = pl.Schema({"modality": pl.String, **dict.fromkeys(IDENTITY, pl.String), "row": pl.UInt64})
# Beside IDENTITY, what a day, a licence or a language that was corrected changes; a vector follows from IDENTITY
_TOLD, _LISTS = ("event_date", "language", "payload"), ("sparse_indices", "sparse_values")


class Difference(NamedTuple):
    """What makes one set of points another: rows to write, items to remove."""

    upserts: pl.DataFrame
    deletes: list[str]


def version_of(points: Points, about: Mapping[str, Any]) -> str:
    """The SHA-256 of what is in an index, in hex; equal content gives the equal version, whatever its order.

    All that is shown, filtered by or matched counts, so that nothing of it can be corrected and keep the old version.

    Args:
        points: by modality; a modality without points counts as absent.
        about: encoders and settings, as JSON. All of it counts, so nothing that changes by itself belongs in it.

    Raises:
        SearchError: a column of IDENTITY is missing.
    """
    held = {modality: _held(_known(rows).sort("item_id")) for modality, rows in points.items() if rows.height}
    return sha256(json.dumps([held, about], sort_keys=True).encode()).hexdigest()


def items_of(points: Points) -> pl.DataFrame:
    """A row per item, as ITEM; `row` is a hash of all that an index keeps of it.

    Raises:
        SearchError: a column is missing.
    """
    frames = [
        _known(rows).select(
            pl.lit(modality).alias("modality"), *IDENTITY, rows.select(list(POINT)).cast(POINT).hash_rows().alias("row")
        )
        for modality, rows in points.items()
    ]
    return pl.concat([ITEM.to_frame(), *frames])


def difference(before: pl.DataFrame, after: pl.DataFrame, points: pl.DataFrame) -> Difference:
    """From one modality's items to another's; `points`: the rows behind `after`."""
    fresh = after.join(before, on=["item_id", "row"], how="anti").select("item_id")
    gone = before.join(after, on="item_id", how="anti")["item_id"].to_list()
    return Difference(points.join(fresh, on="item_id", how="semi"), gone)


def _held(rows: pl.DataFrame) -> list[Any]:
    """What tells these rows from others, as JSON takes it; of numbers, which are many, the SHA-256."""
    told = rows.select(*IDENTITY, *(pl.col(name).cast(pl.String) for name in _TOLD), pl.col(_LISTS[0]).list.len())
    lists = (rows[name].cast(POINT[name]).explode().drop_nulls() for name in _LISTS)
    return [told.rows(), *(sha256(numbers.to_numpy().tobytes()).hexdigest() for numbers in lists)]


def _known(rows: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in (*IDENTITY, *POINT) if name not in rows.columns]
    if missing:
        raise SearchError(f"points lack {sorted(set(missing))}: expected {[*POINT, *IDENTITY[1:]]}; nothing was built")
    return rows
