"""Released models, each row under the hash of its graph: neither a model made again nor a vacuum takes one away."""

from contextlib import suppress
from hashlib import sha256
from io import BytesIO

import obstore
import polars as pl
from obstore.exceptions import AlreadyExistsError, NotFoundError
from obstore.store import ObjectStore

from convergence.errors import ModelError
from convergence.lake import durable
from convergence.models import stored

FOLDER = "_models"


def place(digest: str) -> str:
    """Where the row of a model lies below the root of the lake; `digest`: of its ONNX graph."""
    return f"{FOLDER}/{digest}.parquet"


def keep(store: ObjectStore, row: pl.DataFrame) -> str:
    """Keep a model's row (with `onnx` and `sha256`) for good; the hash of the file, which is there already or new.

    Raises ModelError where what is there is not that model.
    """
    digest: str = row["sha256"].item()
    buffer = BytesIO()
    row.write_parquet(buffer)
    with suppress(AlreadyExistsError):
        durable.put(store, place(digest), buffer.getvalue(), mode="create")
    content = _read(store, digest)
    _opened(content, digest)
    return sha256(content).hexdigest()


def kept(store: ObjectStore, digest: str, file_hash: str | None = None) -> pl.DataFrame:
    """The row of a model. Raises ModelError where it is missing, or not as it was when it was kept."""
    content = _read(store, digest)
    if file_hash is not None and sha256(content).hexdigest() != file_hash:
        raise _changed(digest)
    return _opened(content, digest)


def onnx(store: ObjectStore, digest: str) -> bytes:
    """The graph of a model. Raises ModelError as `kept`."""
    return kept(store, digest)["onnx"].item()


def trees(store: ObjectStore, digest: str) -> str | None:
    """The trees of a model as XGBoost JSON; None where it has none. Raises ModelError as `kept`."""
    row = kept(store, digest)
    return row["model"].item() if "model" in row.columns else None


def _read(store: ObjectStore, digest: str) -> bytes:
    try:
        return bytes(obstore.get(store, place(digest)).bytes())
    except (NotFoundError, FileNotFoundError) as error:
        raise ModelError(f"model {digest[:12]} is missing among the released ones: restore {place(digest)}") from error


def _opened(content: bytes, digest: str) -> pl.DataFrame:
    try:
        row = pl.read_parquet(content)
    except pl.exceptions.PolarsError as error:
        raise _changed(digest) from error
    if stored.digest(row["onnx"].item()) != digest:
        raise _changed(digest)
    return row


def _changed(digest: str) -> ModelError:
    return ModelError(f"model {digest[:12]} is not as it was when it was released: restore {place(digest)}")
