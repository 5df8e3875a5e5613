"""What rankings are judged on: the newest of each item, its encoders, and images scored by what has not seen them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.search import composition, image_backbone
from convergence.search.corpus import Corpus
from convergence.search.encoders import StoredEncoder, opened
from convergence.search.joined_towers import parts_of
from convergence.search.ranking import Floats, Judged
from convergence_assets.semantic_search.encoders import encoder_of
from convergence_assets.semantic_search.items import newest

ALIGNED = "aligned"  # the candidate of image_out_of_fold that search uses


@dataclass(frozen=True)
class World:
    """What rankings are judged on: by modality corpus and encoder; scores of images by what has not seen them."""

    corpora: Mapping[str, Corpus]
    encoders: Mapping[str, StoredEncoder]
    unseen: pl.DataFrame

    @classmethod
    def of(
        cls, points: Mapping[str, pl.LazyFrame], encoders: Mapping[str, pl.LazyFrame], unseen: pl.LazyFrame
    ) -> "World":
        """The newest of each item."""
        stored = {name: encoder_of(rows) for name, rows in encoders.items()}
        corpora = {name: Corpus.of(newest(rows).collect()) for name, rows in points.items()}
        return cls(corpora, stored, unseen.collect())

    def answerable(self, queries: pl.DataFrame) -> pl.DataFrame:
        """The queries all of whose right answers are here, and for images scored by what has not seen them."""
        here = {modality: set(corpus.item_ids) for modality, corpus in self.corpora.items()}
        scored = set(self.unseen["query_id"])
        unseen = self._is_aligned("image")
        if unseen:
            here["image"] &= self._scored.keys()
        mine = [
            here[modality].issuperset(relevant) and (modality != "image" or not unseen or name in scored)
            for modality, relevant, name in queries.select("modality", "relevant", "query_id").iter_rows()
        ]
        return queries.filter(pl.Series(mine, dtype=pl.Boolean))

    def models(self, modality: str) -> list[str]:
        """The models that a modality's encoder has side by side; none where it is one model."""
        return [name for name, _ in self._parts(modality)]

    def judged(self, queries: pl.DataFrame) -> Judged:
        """The scores of queries of one set, against its candidates: items of the set's language, if it has one.

        Where the image encoder was aligned here, images are scored by alignments that have not seen them, and those
        without a caption are no candidates: nothing was held out for them.
        """
        corpus, within = self._candidates(queries)
        place = {int(column): n for n, column in enumerate(within)}

        def columns(name: str) -> list[list[int]]:
            return [[place[c] for c in corpus.columns(ids) if c in place] for ids in queries[name].to_list()]

        words = [composition.words_of_query(text) for text in queries["query"].to_list()]
        sparse = corpus.sparse(words, composition.TERMS[queries["modality"][0]])[:, within]
        clusters = queries["cluster"].to_list()
        return Judged(self.dense(queries), sparse, columns("relevant"), columns("without"), clusters)

    def dense(self, queries: pl.DataFrame, candidate: str | None = None) -> Floats:
        """The dense scores of `judged`; of another way into the space of images, or of one of the `models` alone."""
        corpus, within = self._candidates(queries)
        modality, texts = queries["modality"][0], queries["query"].to_list()
        if self._is_aligned(modality):
            seen = [self._scored[corpus.item_ids[n]] for n in within]
            return self._unseen(queries, candidate or ALIGNED)[:, seen]
        if candidate:
            parts = [parts_of(self._parts(modality), of) for of in (self._asked(modality, texts), corpus.vectors)]
            return parts[0][candidate] @ parts[1][candidate][within].T
        return corpus.dense(self._asked(modality, texts))[:, within]

    def _candidates(self, queries: pl.DataFrame) -> tuple[Corpus, NDArray[np.int64]]:
        """What queries of one set are asked of, and the columns of what they may find."""
        (modality,), (language,) = queries["modality"].unique(), queries["language"].unique()
        corpus = self.corpora[modality]
        within = corpus.in_language(language)
        if self._is_aligned(modality):
            within = within[[corpus.item_ids[n] in self._scored for n in within]]
        return corpus, within

    def _parts(self, modality: str) -> list[tuple[str, int]]:
        return json.loads(self.encoders[modality].document.settings).get("parts", [])

    def _asked(self, modality: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Their vectors; each text is encoded once, however often it is judged."""
        known = self._vectors[modality]
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, opened(self.encoders[modality]).encode_queries(new), strict=True))
        return np.stack([known[text] for text in texts])

    @cached_property
    def _vectors(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        return {modality: {} for modality in self.encoders}

    def _is_aligned(self, modality: str) -> bool:
        return modality in self.encoders and self.encoders[modality].source == image_backbone.SOURCE

    @cached_property
    def _scored(self) -> dict[str, int]:
        """The column of each image in `unseen`."""
        return {image: n for n, image in enumerate(self.unseen["images"][0])} if self.unseen.height else {}

    def _unseen(self, queries: pl.DataFrame, candidate: str) -> NDArray[np.float32]:
        held = self.unseen.filter(pl.col("candidate") == candidate)
        scores = queries.select("query_id").join(held, on="query_id", how="left", maintain_order="left")["scores"]
        return np.asarray(scores.to_list(), np.float32)
