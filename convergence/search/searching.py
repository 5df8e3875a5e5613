"""Answers queries from one snapshot of an index: dense and sparse in each modality, fused, merged by relevance.

A searcher has one snapshot and the very encoders that the snapshot names, and refuses any other, so no query mixes
models. Results come from a pool of fixed size, so that pages of one query never overlap.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from convergence.errors import EncoderMismatch, SearchError
from convergence.search import composition
from convergence.search.backends import Where
from convergence.search.encoders import StoredEncoder, opened
from convergence.search.fusion import POOL, Fusion
from convergence.search.items import Item
from convergence.search.matching import matched_words
from convergence.search.query import Found, Query, Result
from convergence.search.snapshots import Snapshot
from convergence.search.sparse import Bm25, SparseVector


class _Ranked(NamedTuple):
    """Sorts by relevance, then by what relevance was made of, which tells apart where it is 0 or 1, then by name."""

    least: float
    below: float
    modality: str
    item_id: str
    dense: float | None
    sparse: float | None
    payload: str


class Searcher:
    """One snapshot that can be searched. Threads may share it; `close` when nobody does any longer.

    Args:
        snapshot: whose `about["encoders"]` names the digest of each role's encoder.
        encoders: by role.
        fusions: by ranker, see `composition.ranker`: one for each modality, at least.
        terms: what words became terms by, by modality.

    Raises:
        EncoderMismatch: an encoder is missing, or is not the one that the snapshot was made with.
        SearchError: a modality has no fusion, or nothing that makes terms.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        encoders: Mapping[str, StoredEncoder],
        fusions: Mapping[str, Fusion],
        terms: Mapping[str, Bm25],
    ) -> None:
        self.snapshot, self.version = snapshot, snapshot.version
        self.modalities = tuple(snapshot.indexes)
        self.counts = {name: index.count() for name, index in snapshot.indexes.items()}
        wanted: Mapping[str, str] = snapshot.about.get("encoders", {})
        for modality in self.modalities:
            there = encoders[modality].digest if modality in encoders else "none"
            if there != wanted.get(modality):
                raise EncoderMismatch(
                    f"index {self.version} was made with the {modality} encoder {wanted.get(modality)}, found {there}: "
                    "open it with its own encoders, or build an index with these"
                )
            if modality not in fusions or modality not in terms:
                raise SearchError(f"index {self.version} has no fusion or no terms for {modality}: build it anew")
        self._stored = {name: encoders[name] for name in self.modalities}
        self._fusions, self._terms = fusions, terms
        self._encoders = {name: opened(stored) for name, stored in self._stored.items()}
        self._spaces = {name: one.query.digest for name, one in self._stored.items()}  # once: they hash a vocabulary

    @classmethod
    def of(cls, snapshot: Snapshot, encoders: Mapping[str, StoredEncoder]) -> "Searcher":
        """A searcher with what the snapshot carries in `about["fusions"]` and `about["sparse"]`, both by modality.

        Raises as the class does; SearchError also where one of them is not of its form.
        """
        try:
            fusions = {name: Fusion.from_json(one) for name, one in snapshot.about.get("fusions", {}).items()}
            terms = {name: Bm25(**settings) for name, settings in snapshot.about.get("sparse", {}).items()}
        except (TypeError, AttributeError) as error:
            said = f"index {snapshot.version} has settings of another form ({type(error).__name__})"
            raise SearchError(f"{said}: build it anew with this version of the code") from None
        return cls(snapshot, encoders, fusions, terms)

    def close(self) -> None:
        """Let the snapshot go."""
        self.snapshot.close()

    def answering(self, query: Query) -> tuple[str, ...]:
        """The modalities that answer a query, in the snapshot's order.

        Raises:
            SearchError: one is asked for that is not there, or that this kind of query cannot search.
        """
        if unknown := set(query.modalities) - set(self.modalities):
            raise SearchError(f"{len(unknown)} modalities are not here; there are {', '.join(self.modalities)}")
        able = self.modalities
        if query.image:
            able = tuple(m for m in ("image", "text") if m in self.modalities and self._sees(m))
            if not able:
                raise SearchError(f"index {self.version} has no images: search it by text")
        usual = ("code",) if query.code and "code" in able else able
        asked = query.modalities or usual
        if unable := [name for name in asked if name not in able]:
            raise SearchError(f"an image does not search {unable[0]}; it searches {', '.join(able)}")
        return tuple(name for name in self.modalities if name in asked)

    def search(self, query: Query) -> Found:
        """The page of results that a query asks for.

        Raises:
            SearchError: modalities that cannot be searched; see `answering`.
            EncoderError: text or pixels that an encoder cannot take.
        """
        languages = query.languages and frozenset(map(str.lower, query.languages))
        where = Where(query.first_day, query.last_day, languages, query.without)
        vectors: dict[str, list[float]] = {}
        pool: list[_Ranked] = []
        for modality in self.answering(query):
            pool += self._ranked(modality, query, where, self._vector(modality, query, vectors))
        pool.sort()
        page = pool[query.offset : query.offset + query.limit]
        return Found(self.version, [self._result(one, query) for one in page], len(pool))

    def item(self, item_id: str) -> Item | None:
        """An item of the snapshot; None where it has none of this id."""
        for index in self.snapshot.indexes.values():
            anywhere = [1.0] + [0.0] * (index.dimension - 1)
            if hits := index.dense(anywhere, 1, Where(only=[item_id])):
                return Item.from_payload(hits[0].payload)
        return None

    def pixel_settings(self) -> Mapping[str, Any]:
        """What `ImageDecoder.pixels` takes for this snapshot's encoder. Raises SearchError where it has no images."""
        if "image" not in self._stored:
            raise SearchError(f"index {self.version} has no images: search it by text")
        return json.loads(self._stored["image"].document.settings)

    def _sees(self, modality: str) -> bool:
        """Whether the vector of an image can be compared with this modality's."""
        return self._spaces.get("image") == self._spaces[modality]

    def _vector(self, modality: str, query: Query, made: dict[str, list[float]]) -> list[float]:
        """The query's vector in a modality's space; `made`: those of this query so far, by their space."""
        space = self._spaces[modality]
        if space not in made:
            vectors = (
                self._encoders["image"].encode_documents([query.image.pixels()])
                if query.image
                else self._encoders[modality].encode_queries([query.words])
            )
            made[space] = vectors[0].tolist()
        return made[space]

    def _ranked(self, modality: str, query: Query, where: Where, vector: list[float]) -> list[_Ranked]:
        index = self.snapshot.indexes[modality]
        fusion = self._fusions[composition.ranker(modality, query.words, self._fusions)]
        near = index.dense(vector, POOL, where)
        said = None if query.image else index.sparse(*self._words(modality, query), POOL, where)
        payloads = {hit.item_id: hit.payload for hit in [*near, *(said or [])]}
        scores = [None if hits is None else {hit.item_id: hit.score for hit in hits} for hits in (near, said)]
        return [
            _Ranked(
                *(-fusion.relevance(one.score), -one.score, modality, one.item_id),
                *(one.dense, one.sparse, payloads[one.item_id]),
            )
            for one in fusion.fused(*scores)
        ]

    def _words(self, modality: str, query: Query) -> SparseVector:
        return self._terms[modality].query(query.code or composition.words_of_query(query.words))

    def _result(self, one: _Ranked, query: Query) -> Result:
        item, bm25 = Item.from_payload(one.payload), self._terms[one.modality]
        asked = () if query.image else self._words(one.modality, query).indices
        matched = matched_words(asked, item.words, bm25) if asked else ()
        parts = (-one.least, -one.below, one.dense, one.sparse)
        return Result(one.item_id, one.modality, *parts, item, matched)
