"""A small world to search: squares with captions, functions, and encoders in whose space colours are axes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from onnx import TensorProto, helper
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from convergence.objects.store import Objects
from convergence.search.backends import POINT
from convergence.search.contents import version_of
from convergence.search.encoders import Encoder, Graph, StoredEncoder, opened
from convergence.search.following import Searching
from convergence.search.fusion import Fusion
from convergence.search.items import Item
from convergence.search.searching import Searcher
from convergence.search.snapshots import Snapshots
from convergence.search.sparse import Bm25
from tests.convergence.search.tiny_encoders import onnx_of

FIRST = date(2024, 5, 1)
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 230)}
AXES = {"red": (1, 0.02, 0.02), "green": (0.02, 1, 0.02), "blue": (0.02, 0.02, 1), "numbers": (0.6, 0.7, 0.1)}
OTHERS = {"text": (0.3, 0.35, 0.3), "odd": (0.4, 0.3, 0.3)}  # the vector of a word that has no axis, by kind of model
FUSION = Fusion(1.0, 0.3, (0.5, 0.3), (1.0, 1.0), (2.0, -1.0))
TERMS = Bm25(average=4)
FUNCTION = 'def total(numbers):\n    """Add all numbers up."""\n    return sum(numbers)  # {n}\n'


def text_graph(other: str = "text") -> Graph:
    words = ["[UNK]", *AXES]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    table = np.array([OTHERS[other], *AXES.values()], np.float32)
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["rows"]),
             helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0)]  # fmt: skip
    return Graph.of(onnx_of(nodes, {"table": table}, "text"), kind="text", settings={"tokenizer": tokenizer.to_str()})


def pixel_graph() -> Graph:
    nodes = [helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
             helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0)]  # fmt: skip
    settings = {"size": 4, "shorter_side": 6, "fit": "crop", "resample": "bicubic"}
    return Graph.of(onnx_of(nodes, {}, "pixels"), kind="pixels", settings=settings)


def encoders(other: str = "text") -> dict[str, StoredEncoder]:
    """By role; `other` makes another model of them."""
    query, pixels = text_graph(other), pixel_graph()
    facts = {"name": "tiny", "source": "package:tiny", "weights_sha256": "0" * 64, "precision": "fp32", "dimension": 3}
    graphs = {"image": (pixels, query), "text": (query, query), "code": (query, query)}
    return {r: StoredEncoder(role=r, document=d, query=q, **facts) for r, (d, q) in graphs.items()}  # pyright: ignore[reportArgumentType]


def picture(colour: tuple[int, int, int], size: int = 64, form: str = "PNG") -> bytes:
    """A square of one colour with a darker frame."""
    image = Image.new("RGB", (size, size), tuple(part // 2 for part in colour))
    image.paste(colour, (size // 8, size // 8, size - size // 8, size - size // 8))
    out = BytesIO()
    image.save(out, form)
    return out.getvalue()


@dataclass(frozen=True)
class Entry:
    """An item, and what its vector is made from where that is not its own text."""

    item_id: str
    modality: str
    item: Item
    pixels: np.ndarray | None = field(default=None, compare=False)


def squares(objects: Objects, number: int = 6) -> list[Entry]:
    """Images in turn red, green and blue, a caption for each, and a function for each, a day each."""
    entries = []
    for n in range(number):
        name, day = list(COLOURS)[n % 3], str(FIRST + timedelta(days=n))
        shade = tuple(max(0, part - n) for part in COLOURS[name])  # no two are the same file
        stored, thumbnail = (objects.put(picture(shade, form=form)).sha256 for form in ("PNG", "JPEG"))
        entries += [
            Entry(f"image-{n}", "image", Item(day, f"{name} square", object_sha256=stored, thumbnail_sha256=thumbnail,
                  licence="CC0"), np.full((4, 4, 3), shade, np.uint8)),
            Entry(f"caption-{n}-0", "text", Item(day, text=f"a {name} square", parent_id=f"image-{n}")),
            Entry(f"code-{n}", "code", Item(day, f"total {n}", code=FUNCTION.format(n=n), language="python")),
        ]  # fmt: skip
    return entries


def points(entries: Sequence[Entry], of: Mapping[str, StoredEncoder]) -> dict[str, pl.DataFrame]:
    made: dict[str, list[dict[str, Any]]] = {}
    opened_ = {role: opened(stored) for role, stored in of.items()}
    for entry in entries:
        said = entry.item.words
        indices, values = TERMS.document(said)
        made.setdefault(entry.modality, []).append(
            {
                "item_id": entry.item_id, "event_date": date.fromisoformat(entry.item.day),
                "vector": _vector(entry, opened_[entry.modality]), "sparse_indices": indices,
                "sparse_values": values, "payload": entry.item.as_payload(), "language": entry.item.language,
                "content_hash": sha256(entry.item.as_payload().encode()).hexdigest(),
                "encoder": of[entry.modality].digest,
            }
        )  # fmt: skip
    return {modality: pl.DataFrame(rows, schema_overrides=POINT) for modality, rows in made.items()}


def _vector(entry: Entry, encoder: Encoder) -> list[float]:
    given = [entry.pixels] if entry.pixels is not None else [entry.item.words]
    return encoder.encode_documents(given)[0].tolist()


@dataclass
class World:
    """A home with objects, snapshots and the encoders they were made with."""

    home: Path
    known: dict[str, StoredEncoder] = field(default_factory=dict)  # by role and digest

    def __post_init__(self) -> None:
        self.objects = Objects.at(str(self.home / "objects"))
        self.snapshots = Snapshots(self.home / "indexes" / "semantic_search")

    def build(self, entries: Sequence[Entry], of: Mapping[str, StoredEncoder] | None = None) -> str:
        """Build a snapshot of these items; its version."""
        of = of or encoders()
        made = points(entries, of)
        self.known |= {f"{role} {one.digest}": one for role, one in of.items()}
        about = {
            "encoders": {role: one.digest for role, one in of.items() if role in made},
            "fusions": dict.fromkeys(made, FUSION.as_json()),
            "sparse": dict.fromkeys(made, asdict(TERMS)),
        }
        version = version_of(made, about)
        self.snapshots.build(version, made, about)
        return version

    def release(self, version: str) -> None:
        """Let a snapshot be live."""
        there = self.snapshots.live()
        self.snapshots.switch(version, expected=there.version if there else None)

    def searcher(self, version: str) -> Searcher:
        snapshot = self.snapshots.opened(version)
        wanted = snapshot.about["encoders"]
        return Searcher.of(snapshot, {role: self.known[f"{role} {digest}"] for role, digest in wanted.items()})

    def searching(self) -> Searching:
        def live() -> str | None:
            there = self.snapshots.live()
            return there.version if there else None

        return Searching(live, self.searcher)
