"""Points and queries are looked at here before an engine sees them: what engines refuse differs, and when."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from convergence.errors import SearchError
from convergence.search.backends import POINT

_LENGTH = 1e-3  # int8 encoders round; a vector that nobody normalised is far off


def checked(points: pl.DataFrame, dimension: int) -> pl.DataFrame:
    """The columns of POINT, with their types.

    Raises:
        SearchError: a column is missing or of another type, an item is there twice, or a vector is none of this index.
    """
    missing = [name for name in POINT if name not in points.columns]
    if missing:
        raise SearchError(f"points lack {missing}: expected the columns {list(POINT)}; nothing was written")
    try:
        rows = points.select(pl.col(name).cast(kind) for name, kind in POINT.items())
    except pl.exceptions.PolarsError as error:
        raise SearchError(f"points do not have the types {dict(POINT)}; nothing was written") from error
    empty = [name for name in POINT if name != "language" and rows[name].null_count()]
    if empty:
        raise SearchError(f"points have nulls in {empty}: only `language` may be null; nothing was written")
    if rows["item_id"].n_unique() < rows.height:
        twice = rows["item_id"].value_counts().filter(pl.col("count") > 1).height
        raise SearchError(f"{twice} items are there more than once: expected one point an item; nothing was written")
    if (rows["sparse_indices"].list.len() != rows["sparse_values"].list.len()).any():
        raise SearchError("sparse vectors have more indices than values or fewer; nothing was written")
    _check(rows["vector"], dimension)
    return rows


def check_vector(vector: Sequence[float], dimension: int) -> None:
    """Raises SearchError unless a query's vector fits: dimension, unit length, finite."""
    _check(pl.Series([list(vector)], dtype=pl.List(pl.Float32)), dimension)


def _check(vectors: pl.Series, dimension: int) -> None:
    sizes = vectors.list.len().unique().to_list()
    if any(size != dimension for size in sizes):
        raise SearchError(
            f"vectors of {sorted(sizes)} dimensions do not fit an index of {dimension}: use the encoder that the index "
            "was built with"
        )
    values = vectors.explode().to_numpy().reshape(len(vectors), dimension)
    lengths = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    wrong = ~(np.abs(lengths - 1) <= _LENGTH)  # NaN is wrong too
    if wrong.any():
        raise SearchError(
            f"{int(wrong.sum())} vectors are not of length 1, e.g. {lengths[wrong][0]:.3g}: expected finite vectors, "
            "normalised"
        )
