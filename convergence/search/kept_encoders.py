"""Encoders that an index was made with, each under its digest: whatever becomes of their tables, it finds them."""

from contextlib import suppress
from io import BytesIO

import obstore
import polars as pl
from obstore.exceptions import AlreadyExistsError, NotFoundError
from obstore.store import ObjectStore

from convergence.errors import EncoderError, EncoderMismatch
from convergence.lake import durable
from convergence.search.encoders import StoredEncoder

FOLDER = "_encoders"


def keep(store: ObjectStore, encoder: StoredEncoder) -> None:
    """Keep an encoder for good, unless it is there already. Raises EncoderError where something else is there."""
    buffer = BytesIO()
    pl.DataFrame([encoder.as_row()], schema_overrides={"query_onnx": pl.Binary}).write_parquet(buffer)
    with suppress(AlreadyExistsError):
        durable.put(store, _place(encoder.digest), buffer.getvalue(), mode="create")
    kept(store, encoder.digest)


def kept(store: ObjectStore, digest: str) -> StoredEncoder:
    """The encoder of a digest.

    Raises:
        EncoderMismatch: it was never kept here.
        EncoderError: it is not as it was when it was kept.
    """
    try:
        content = bytes(obstore.get(store, _place(digest)).bytes())
    except (NotFoundError, FileNotFoundError) as error:
        raise EncoderMismatch(
            f"encoder {digest[:12]}, which the index was made with, is not kept in this lake: restore "
            f"{_place(digest)}, or build the index anew"
        ) from error
    try:
        found = StoredEncoder.from_row(pl.read_parquet(content).row(0, named=True))
    except (pl.exceptions.PolarsError, IndexError) as error:
        raise _damaged(digest) from error
    if found.digest != digest:
        raise _damaged(digest)
    return found


def _place(digest: str) -> str:
    return f"{FOLDER}/{digest}.parquet"


def _damaged(digest: str) -> EncoderError:
    return EncoderError(f"encoder {digest[:12]} is not as it was when it was kept: restore {_place(digest)}")
