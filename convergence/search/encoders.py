"""Stored encoders: ONNX graphs with tokenizer and settings in one row of a table, opened by hash, that make vectors.

Each input is run alone, at its exact length: int8 takes its scale from all that is in a batch, so only then does a
vector depend on its own input and nothing else, and an item embedded today equals the same item embedded last year.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any, Literal, Self, get_args
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from convergence.errors import EncoderError
from convergence.models import onnx_file

Role = Literal["text", "code", "image"]
Precision = Literal["fp32", "int8"]
Kind = Literal["text", "pixels"]

INPUT = {"text": "tokens", "pixels": "pixels"}  # name of a graph's one input: int64 (1, length), uint8 (1, s, s, 3)
OUTPUT = "vector"  # and of its output: float32 (1, d)
_SESSIONS: WeakValueDictionary[str, Any] = WeakValueDictionary()
_OPENING = Lock()
_FACTS = ("role", "name", "source", "weights_sha256", "precision", "dimension", "fidelity")


@dataclass(frozen=True)
class Graph:
    """An ONNX graph from one input to a vector, with what its input is made with.

    Attributes:
        onnx: the file. Input and output are named and typed as `INPUT` and `OUTPUT` say.
        sha256: its hash, in hex.
        kind: what goes in.
        settings: canonical JSON. Text: `tokenizer` (a tokenizer.json with its truncation and padding), `prompt` (put
            before each text), `parts` (name and dimension of each, where models are side by side). Pixels: `size` s,
            and how an image becomes s x s pixels: `fit` ("crop": the shorter side to `shorter_side`, then the middle;
            "squash": both sides to s) and `resample` ("bicubic" or "bilinear").
    """

    onnx: bytes
    sha256: str
    kind: Kind
    settings: str

    @classmethod
    def of(cls, onnx: bytes, *, kind: Kind, settings: Mapping[str, Any]) -> Self:
        """The graph of a file, under its hash."""
        return cls(onnx, onnx_file.digest(onnx), kind, json.dumps(settings, sort_keys=True, ensure_ascii=False))

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of everything that the vectors depend on."""
        return sha256(json.dumps([self.kind, self.sha256, self.settings]).encode()).hexdigest()


@dataclass(frozen=True)
class StoredEncoder:
    """One row of a table of encoders, complete in itself: two graphs into one space.

    Attributes:
        role: what it is for.
        name: of the model, for people.
        source: where the weights came from: "package:name", "jar:name", "hub:org/name", "folder:last part of the path";
            with "+" between them where they are several.
        weights_sha256: of the checkpoint's weights, in hex.
        precision: of the graphs' numbers.
        dimension: d, of the vectors.
        document: from a text or pixels.
        query: from a text; the same as `document` where both sides are encoded alike.
        fidelity: mean cosine of int8 vectors to the fp32 ones, on the texts given at export; None where fp32.
    """

    role: Role
    name: str
    source: str
    weights_sha256: str
    precision: Precision
    dimension: int
    document: Graph
    query: Graph
    fidelity: float | None = None

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of both graphs and their settings: encoders that make equal vectors have equal digests."""
        return sha256(f"{self.document.digest} {self.query.digest}".encode()).hexdigest()

    def as_row(self) -> dict[str, Any]:
        """The row: a column per attribute, `digest`, and four per graph; no `query_onnx` where it is the document's."""
        graphs = {"document": self.document, "query": self.query}
        return (
            {name: getattr(self, name) for name in _FACTS}
            | {"digest": self.digest}
            | {f"{side}_{name}": value for side, graph in graphs.items() for name, value in vars(graph).items()}
            | ({"query_onnx": None} if self.document.sha256 == self.query.sha256 else {})
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The encoder of a row that `as_row` made.

        Raises:
            EncoderError: a column is missing, or the settings or hashes are not those that `digest` was made of.
        """
        try:
            onnx = {"document": row["document_onnx"], "query": row["query_onnx"] or row["document_onnx"]}
            document, query = (
                Graph(onnx[side], *(row[f"{side}_{name}"] for name in ("sha256", "kind", "settings"))) for side in onnx
            )
            own: dict[str, Any] = {name: row[name] for name in _FACTS}
            found, digest = cls(document=document, query=query, **own), row["digest"]
        except KeyError as missing:
            raise EncoderError(f"the row is no encoder: column {missing} is missing; store the encoder again") from None
        if found.digest != digest:
            raise EncoderError(
                f"encoder {found.name!r} is not as it was stored: expected digest {digest}, found {found.digest}; "
                "nothing was opened: restore its table or export it again"
            )
        return found


class Encoder:
    """An opened encoder. Threads may share it; a call uses at most `threads` threads of its own."""

    def __init__(self, stored: StoredEncoder, *, threads: int = 2) -> None:
        self.role, self.digest, self.dimension = stored.role, stored.digest, stored.dimension
        self.document_kind = stored.document.kind
        self.document_settings: dict[str, Any] = json.loads(stored.document.settings)
        self._threads = threads
        self._document = _encoding(stored.document)
        self._query = self._document if stored.query == stored.document else _encoding(stored.query)

    def encode_documents(self, documents: Sequence[str] | Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Any:
        """The vector of each document: texts, or RGB pixels (s, s, 3), as `document_kind` says.

        Returns:
            (n, d) float32, each row of length one and the same whatever the other documents are.

        Raises:
            EncoderError: a document that is not such a text or not of the settings' size, or one without a vector.
        """
        return self._vectors(self._document, documents)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vector of each query, in the space of the documents; shape and errors as `encode_documents`."""
        return self._vectors(self._query, texts)

    def _vectors(self, encode: Callable[[Any], NDArray[np.float32]], inputs: Any) -> NDArray[np.float32]:
        vectors = np.empty((len(inputs), self.dimension), np.float32)
        if len(inputs) == 1:
            vectors[0] = encode(inputs[0])
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                for i, vector in enumerate(pool.map(encode, inputs)):
                    vectors[i] = vector
        broken = int((~(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3)).sum())  # true of NaN, too
        if broken:
            raise EncoderError(
                f"{broken} of {len(inputs)} inputs have no vector of length one; leave those without content out"
            )
        return vectors


def opened(stored: StoredEncoder, *, threads: int = 2) -> Encoder:
    """Open a stored encoder; graphs that are open already, in whichever role, are shared.

    Raises:
        ModelError: a graph is not the one that the record names, not self-contained, or not of standard operators.
        EncoderError: a role, kind or graph that is none of ours.
    """
    if stored.role not in get_args(Role) or stored.query.kind != "text":
        raise EncoderError(
            f"encoder {stored.name!r} cannot serve: expected a role of {list(get_args(Role))} and queries of text, "
            f"found role {stored.role!r} and queries of {stored.query.kind}; export it again"
        )
    return Encoder(stored, threads=threads)


def _encoding(graph: Graph) -> Callable[[Any], NDArray[np.float32]]:
    settings = json.loads(graph.settings)
    session = _session(graph)
    inputs = text_tokens(settings) if graph.kind == "text" else _pixels(settings)
    return lambda item: session.run([OUTPUT], {INPUT[graph.kind]: inputs(item)})[0][0]


def _session(graph: Graph) -> Any:
    with _OPENING:
        session = _SESSIONS.get(graph.sha256)
        if session is None:
            onnx_file.checked(graph.onnx, sha256=graph.sha256)
            session = _SESSIONS[graph.sha256] = onnx_file.session(graph.onnx)
    found = ([i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()])
    if found != ([INPUT[graph.kind]], [OUTPUT]):
        raise EncoderError(
            f"the graph is no encoder of {graph.kind}: expected input {INPUT[graph.kind]!r} and output {OUTPUT!r}, "
            f"found {found}; export it again"
        )
    return session


def text_tokens(settings: Mapping[str, Any]) -> Callable[[str], NDArray[np.int64]]:
    """What makes a text the input (1, length) of a graph with these settings; raises EncoderError for other input."""
    from tokenizers import Tokenizer

    tokenizer, prompt = Tokenizer.from_str(settings["tokenizer"]), settings.get("prompt", "")

    def tokens(text: str) -> NDArray[np.int64]:
        try:
            return np.array([tokenizer.encode(prompt + text).ids], np.int64)
        except TypeError:
            raise EncoderError("expected a Unicode text, found something else or half a surrogate pair") from None

    return tokens


def _pixels(settings: Mapping[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    shape = (settings["size"], settings["size"], 3)

    def pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.shape != shape or image.dtype != np.uint8:
            raise EncoderError(
                f"expected uint8 pixels of shape {shape}, found {image.dtype} of {image.shape}; fit the image as the "
                "encoder's settings say"
            )
        return image[None]

    return pixels
