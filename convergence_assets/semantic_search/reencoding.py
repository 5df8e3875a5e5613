"""What other encoders would have to encode, which vectors could stay, and how long an item takes them: nothing is kept.

Vectors are kept by content and by the graph that made them, so only what neither holds is work.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from convergence.lake.tables import Lake
from convergence.objects.store import Objects
from convergence.observability.usage import Meter, Usage
from convergence.search.encoders import Role, StoredEncoder, opened
from convergence.search.use_case import SAMPLE
from convergence.versions.plan import scaled
from convergence_assets.semantic_search.encoders import encoder_of, of_checkpoint

__all__ = ["contents", "of_checkpoint", "of_now", "split", "timed"]  # what a Reencoding has

_FROM = "semantic_search"


def of_now(lake: Lake, role: Role) -> StoredEncoder | None:
    """The encoder that the lake holds, or None where it was never made."""
    table = f"{_FROM}/{role}_encoder"
    return None if lake.open(table) is None else encoder_of(lake.scan(table))


def contents(lake: Lake, role: Role, days: Sequence[str]) -> pl.DataFrame:
    """The different contents of a role on these days: `content_hash`, and as `given` the text, or the image's name."""
    if role == "image":
        found = lake.scan(f"{_FROM}/search_images", days).select(content_hash="sha256", given="sha256")
    else:
        items = lake.scan(f"{_FROM}/search_items", days).filter(pl.col("modality") == role)
        found = items.select("content_hash", given=pl.coalesce("code", "text"))  # as composition.content chooses
    return found.unique("content_hash").sort("content_hash").collect()


def split(lake: Lake, role: Role, wanted: pl.DataFrame, graph: str | None) -> tuple[int, int]:
    """How many contents a graph would encode anew, and of how many it has the vectors; None: of a graph yet unknown."""
    table = f"{_FROM}/{role}_embeddings"
    if graph is None or lake.open(table) is None:
        return wanted.height, 0
    known = lake.scan(table).filter(pl.col("encoder") == graph).select("content_hash").collect()
    kept = wanted.join(known, on="content_hash", how="semi").height
    return wanted.height - kept, kept


def timed(encoder: StoredEncoder, wanted: pl.DataFrame, objects: Objects) -> Usage | None:
    """What a content takes an encoder, decoding included, by a sample of them; None where there is none.

    Raises:
        ObjectError: an image of the sample is not in the store.
    """
    sample = wanted.gather_every(max(1, wanted.height // SAMPLE)).head(SAMPLE)["given"].to_list()
    if not sample:
        return None
    model = opened(encoder)
    model.encode_documents(_documents(sample[:1], encoder, model.document_settings, objects))  # opens what stays open
    meter = Meter()
    model.encode_documents(_documents(sample, encoder, model.document_settings, objects))
    return scaled(meter.read(), 1 / len(sample))


def _documents(given: Sequence[str], encoder: StoredEncoder, settings: dict[str, Any], objects: Objects) -> list[Any]:
    from convergence.objects.images import ImageDecoder

    if encoder.document.kind == "text":
        return list(given)
    with ImageDecoder() as decoder:
        return [decoder.pixels(objects.get(name), **settings) for name in given]
