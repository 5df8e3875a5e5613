"""What is seen in images before any word, and how well words then find images that the alignment has not seen."""

from typing import Annotated

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl
from numpy.typing import NDArray

from convergence.lake.contracts import schema_of
from convergence_assets.semantic_search.contracts import Event
from convergence_assets.semantic_search.items import DAILY, OWNED, newest
from resources.lake import lake_asset

_BINS = 8  # of each colour
Floats = Annotated[pl.List, pl.Float32]


class ImageFeatures(Event):
    """What the backbone sees in an image."""

    item_id: str = pa.Field(unique=True, description="The image")
    features: Floats = pa.Field(
        description="Means of the backbone's last maps", metadata={"from": ["search_images.sha256"]}
    )
    logits: Floats = pa.Field(description="Of ImageNet's 1000 classes", metadata={"from": ["search_images.sha256"]})
    histogram: Floats = pa.Field(
        description="Share of each of 512 colours: the baseline", metadata={"from": ["search_images.sha256"]}
    )

    class Config(Event.Config):
        """Columns are as declared."""


def colours(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(512,): the share of each colour in an image's pixels (s, s, 3), eight steps of each of red, green and blue."""
    steps = (pixels.reshape(-1, 3) >> 5).astype(np.int64)
    counts = np.bincount(steps @ np.array([_BINS**2, _BINS, 1]), minlength=_BINS**3)
    return (counts / counts.sum()).astype(np.float32)


def labelled(features: pl.LazyFrame, items: pl.LazyFrame) -> pl.DataFrame:
    """Features of the images that have captions, with their `captions` and `caption_ids`, in the order of ids.

    A caption is a text that names its image; of one that was sent again, as of an image, the newest counts.
    """
    captions = newest(items.filter(pl.col("modality") == "text", pl.col("parent_id").is_not_null()))
    texts = captions.group_by("parent_id", maintain_order=True).agg(captions="text", caption_ids="item_id")
    return newest(features).join(texts, left_on="item_id", right_on="parent_id", how="inner").sort("item_id").collect()


@lake_asset(
    contract=ImageFeatures,
    ins={"search_images": dg.AssetIn(key_prefix="semantic_search")},
    partitions_def=DAILY,
    required_resource_keys={"objects"},
    code_version="1",
    kinds={"pytorch", "deltalake"},
    tags={"layer": "feature"},
    **OWNED,
)
def image_features(context: dg.AssetExecutionContext, search_images: pl.LazyFrame) -> pl.DataFrame:
    """What an ImageNet backbone and a colour histogram see in each image.

    Grain: image. EfficientNet-Lite2 as an ONNX graph, on pixels from the decoder's child process. The image encoder is
    aligned on these; the histogram is what it must be better than.
    """
    from convergence.search import image_backbone

    objects = context.resources.objects
    images = search_images.sort("event_time", "item_id").collect()
    if images.is_empty():
        return pl.DataFrame(schema=schema_of(ImageFeatures))
    with objects.decoder() as decoder:
        pixels = [decoder.pixels(objects.store.get(name), **image_backbone.SETTINGS) for name in images["sha256"]]
    features, logits = image_backbone.seen(image_backbone.backbone(), pixels)
    return images.select("event_date", "event_time", "arrived_at", "item_id").with_columns(
        pl.Series("features", features.tolist(), pl.List(pl.Float32)),
        pl.Series("logits", logits.tolist(), pl.List(pl.Float32)),
        pl.Series("histogram", [colours(p).tolist() for p in pixels], pl.List(pl.Float32)),
    )
