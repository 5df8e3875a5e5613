"""Texts as BM25 vectors: a document's weights hold term frequency and length, a query's are 1; the index adds the IDF.

Splitting (camelCase and snake_case, the whole identifier kept), stop words, stems and 32-bit token ids are the engine's
own, so that equal text gives equal ids in every process. The average length is a constant: a new document must not
change the vectors of the others.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple


class SparseVector(NamedTuple):
    """Token ids, ascending, each once, and the weight of each. Both are empty for a text without terms."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True)
class Bm25:
    """How texts of one modality become vectors.

    Args:
        average: terms of a usual document; lengths are measured by it.
        k1: the greater, the more a repeated term counts.
        b: 0: length does not count; 1: it counts in full.
        language: of stop words and stems, in English and lower case.
    """

    average: float
    k1: float = 1.2
    b: float = 0.75
    language: str = "english"

    @property
    def digest(self) -> str:
        """A hash of the settings: with other ones all documents are to be made again."""
        return sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()

    def document(self, text: str) -> SparseVector:
        """The weights tf (k1 + 1) / (tf + k1 (1 - b + b length / average)) of a document's terms."""
        return _sorted(self._engine.embed_document(text))

    def documents(self, texts: Iterable[str]) -> list[SparseVector]:
        """`document` of each."""
        return [self.document(text) for text in texts]

    def query(self, text: str) -> SparseVector:
        """The terms of a query, each of weight 1."""
        return _sorted(self._engine.embed_query(text))

    @cached_property
    def _engine(self) -> Any:
        import qdrant_edge as edge

        return edge.Bm25(
            edge.Bm25Config(
                k=self.k1,
                b=self.b,
                avg_len=self.average,
                language=self.language,
                tokenizer=edge.TokenizerType.Code,
                ascii_folding=True,
            )
        )


def _sorted(vector: Any) -> SparseVector:
    pairs = sorted(zip(vector.indices, vector.values, strict=True))
    return SparseVector([index for index, _ in pairs], [value for _, value in pairs])
