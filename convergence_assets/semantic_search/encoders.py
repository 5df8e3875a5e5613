"""The encoders: rows that hold whole models, made from checkpoints, and for images aligned on captions.

Which checkpoints, is configuration (docs/search.md). Materializing an encoder anew from another one makes the
embeddings of its modality stale, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl
from numpy.typing import NDArray

from convergence.lake.contracts import StrictColumns, schema_of
from convergence.search import alignment, image_backbone
from convergence.search.encoders import Precision, Role, StoredEncoder, opened
from convergence.search.use_case import ALIGNED
from convergence_assets.semantic_search.contracts import MODALITIES
from convergence_assets.semantic_search.images import labelled
from convergence_assets.semantic_search.judged import MODELS
from resources.lake import Described, lake_asset
from resources.lineage import using

MAX_TOKENS = 128  # of a text or a function: 256 find no more of CoSQA's, and cost twice as much
_HASH = r"^[0-9a-f]{64}$"
_CONFIGURED = "convergence.search.checkpoints, by configuration"


class SearchEncoder(pa.DataFrameModel):
    """A whole encoder: two graphs into one space, and where they come from."""

    role: str = pa.Field(isin=MODALITIES, description="What it encodes")
    name: str = pa.Field(description="Name of the model")
    source: str = pa.Field(description="Where its weights come from: package, jar, hub or folder; + between several")
    weights_sha256: str = pa.Field(str_matches=_HASH, description="SHA-256 of the weights")
    precision: str = pa.Field(isin=["fp32", "int8"], description="Of the numbers in its graphs")
    dimension: int = pa.Field(gt=0, description="Of its vectors")
    fidelity: float = pa.Field(nullable=True, le=1.001, description="Mean cosine of int8 to fp32 vectors")
    digest: str = pa.Field(str_matches=_HASH, description="SHA-256 of both graphs and their settings: its name")
    document_onnx: bytes = pa.Field(description="Graph of documents, as an ONNX file")
    document_sha256: str = pa.Field(str_matches=_HASH, description="SHA-256 of that file")
    document_kind: str = pa.Field(isin=["text", "pixels"], description="What it takes")
    document_settings: str = pa.Field(description="How that is made: tokenizer, or size and fit, as JSON")
    query_onnx: bytes = pa.Field(nullable=True, description="Graph of queries; null: it is that of documents")
    query_sha256: str = pa.Field(str_matches=_HASH, description="SHA-256 of that file")
    query_kind: str = pa.Field(isin=["text"], description="What it takes")
    query_settings: str = pa.Field(description="How that is made: the tokenizer, as JSON")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": _CONFIGURED}


class ImageEncoder(SearchEncoder):
    """The encoder of images, whose alignment was learned from features and captions."""

    class Config(SearchEncoder.Config):
        """Columns are as declared."""

        metadata = {"from": ["image_features.*", "search_items.text", "text_encoder.digest"]}


def row_of(encoder: StoredEncoder) -> pl.DataFrame:
    """An encoder as a row of its table."""
    return pl.DataFrame([encoder.as_row()], schema=schema_of(SearchEncoder))


def encoder_of(rows: pl.LazyFrame) -> StoredEncoder:
    """The encoder of a table that `row_of` made."""
    return StoredEncoder.from_row(rows.collect().row(0, named=True))


def _said(rows: pl.DataFrame) -> dict[str, Any]:
    row = rows.row(0, named=True)
    kept = ("name", "source", "precision", "dimension", "digest", "weights_sha256")
    size = round((len(row["document_onnx"]) + len(row["query_onnx"] or b"")) / 1e6, 1)
    return {k: row[k] for k in kept} | {"size_mb": size} | ({"fidelity": f} if (f := row["fidelity"]) else {})


@lru_cache(maxsize=1)
def _text_model(checkpoint: str, precision: Precision) -> StoredEncoder:
    """A model of texts; exporting it takes a minute, and by default texts and functions have the same."""
    from convergence.search.checkpoints import exported

    return exported(checkpoint, role="text", precision=precision, max_tokens=MAX_TOKENS)


def of_checkpoint(role: Role, checkpoint: str, precision: Precision) -> StoredEncoder:
    """The encoder that a checkpoint gives. Raises EncoderError where it cannot be had, or is none of that role."""
    from convergence.search.checkpoints import exported

    if role == "image":
        return exported(checkpoint, role=role, precision=precision, max_tokens=MAX_TOKENS)
    return replace(_text_model(checkpoint, precision), role=role)


def _of_checkpoint(role: Literal["text", "code"]) -> dg.AssetsDefinition:
    """An asset that is the encoder of the configured checkpoint of a role."""

    @lake_asset(
        name=f"{role}_encoder",
        contract=SearchEncoder,
        describe=_said,
        required_resource_keys={"checkpoints"},
        code_version="1",
        kinds={"pytorch", "deltalake"},
        tags={"layer": "model", "not_partitioned": "an-encoder-serves-all-days"},
        description=f"""The encoder of {role}: a checkpoint as an ONNX graph that is opened by its hash.

Grain: the encoder, one row. CONVERGENCE_{role.upper()}_ENCODER names the checkpoint; its weights, its precision and how
far int8 is from fp32 are in the row. Materialize it again after a change: embeddings follow.""",
        **MODELS,
    )
    def encoder(context: dg.AssetExecutionContext) -> Described:
        wanted = context.resources.checkpoints
        made = of_checkpoint(role, getattr(wanted, role), wanted.precision)
        context.log.info(f"{role}: {made.name} of {made.source}, {made.precision}, digest {made.digest[:12]}")
        return Described(row_of(made), origins=[f"weights: {made.source}"])

    return encoder


text_encoder, code_encoder = _of_checkpoint("text"), _of_checkpoint("code")


def class_vectors(text: StoredEncoder) -> NDArray[np.float32]:
    """(1000, d): the names of the backbone's classes in the space of the text encoder."""
    return opened(text).encode_queries(image_backbone.class_texts())


def caption_vectors(text: StoredEncoder, captions: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
    """For each image the vectors (k, d) of its captions."""
    vectors = opened(text).encode_queries([caption for of in captions for caption in of])
    return np.split(vectors, np.cumsum([len(of) for of in captions])[:-1])


@lake_asset(
    contract=ImageEncoder,
    ins={
        "image_features": using(("features", "logits"), key_prefix="semantic_search"),
        "search_items": using(("text", "parent_id"), key_prefix="semantic_search"),
        "text_encoder": dg.AssetIn(key_prefix="semantic_search"),
    },
    describe=_said,
    required_resource_keys={"checkpoints"},
    code_version="1",
    kinds={"scikitlearn", "deltalake"},
    tags={"layer": "model", "not_partitioned": "an-encoder-serves-all-days"},
    **MODELS,
)
def image_encoder(
    context: dg.AssetExecutionContext,
    image_features: pl.LazyFrame,
    search_items: pl.LazyFrame,
    text_encoder: pl.LazyFrame,
) -> Described:
    """The encoder of images, into the space of texts, and of queries for them.

    Grain: the encoder, one row. An ImageNet backbone aligned on captions: class names weighted by their probability
    (no training), mixed with a ridge regression to captions. What it finds of images that it has not seen is in
    image_out_of_fold. Or a CLIP or SigLIP checkpoint, where CONVERGENCE_IMAGE_ENCODER names one.
    """
    wanted = context.resources.checkpoints
    if wanted.image != ALIGNED:
        made = of_checkpoint("image", wanted.image, wanted.precision)
        return Described(row_of(made), origins=[f"weights: {made.source}"])
    from convergence.search.image_encoder import aligned

    text, known = encoder_of(text_encoder), labelled(image_features, search_items)
    captions = caption_vectors(text, known["captions"].to_list())
    fitted = alignment.Alignment.fit(
        np.asarray(known["features"].to_list(), np.float32), np.asarray(known["logits"].to_list(), np.float32),
        captions, class_vectors(text),
    )  # fmt: skip
    context.log.info(f"aligned on {known.height} images: ridge {fitted.share}, penalty {fitted.penalty}")
    return Described(
        row_of(aligned(image_backbone.backbone(), fitted, text)), origins=[f"weights: {image_backbone.SOURCE}"]
    )
