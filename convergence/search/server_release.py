"""Versions of an index on a Qdrant server: a collection per modality and version, and one alias per modality.

What is live is decided by the snapshots, which ask collections by name: no query mixes versions. The aliases follow,
all in one request, for whoever asks the server directly. A server belongs to one home.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from convergence.errors import IndexMissing
from convergence.search.backends import VectorIndex
from convergence.search.contents import Points
from convergence.search.items import MODALITIES
from convergence.search.qdrant_server_index import ServerIndex

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_SHORT = 12  # hex digits of a version in the name of a collection

Counts = Mapping[str, int]  # items by modality, as index.json has them


class ServerRelease:
    """The indexes of one use case on a server. Collections are named `<use case>-<modality>-<12 digits of version>`."""

    def __init__(self, client: "QdrantClient", use_case: str) -> None:
        self._client, self._use_case = client, use_case

    @property
    def engine(self) -> dict[str, str]:
        """Name of the engine, and version of the server."""
        return {"name": "qdrant", "version": self._client.info().version}

    def build(self, version: str, points: Points) -> int:
        """Make the collections of a version; returns how many points were sent: none to collections that are whole.

        A collection with fewer or more points than it should have is what a killed build left, and is made anew. Only
        for who holds a lock: of two at once, one would remove what the other is making.

        Raises:
            SearchError: points that do not fit (see VectorIndex).
        """
        sent, there = 0, self._collections()
        for modality, rows in points.items():
            name = self._named(modality, version)
            if not rows.height or (name in there and self._count(name) == rows.height):
                continue
            self._client.delete_collection(name)
            ServerIndex.create(self._client, name, len(rows["vector"][0])).upsert(rows)
            sent += rows.height
        return sent

    def opened(self, version: str, counts: Counts) -> Mapping[str, VectorIndex]:
        """The indexes of a version by modality. Raises IndexMissing where one is not there or not whole."""
        there = self._collections()
        for modality, count in counts.items():
            name = self._named(modality, version)
            if name not in there or self._count(name) != count:
                raise IndexMissing(
                    f"index version {version[:_SHORT]} is not whole on the server: expected {count} of {modality}; "
                    "build it again"
                )
        return {m: ServerIndex(self._client, self._named(m, version)) for m in counts}

    def live(self) -> Mapping[str, str]:
        """The collections that the aliases name, by modality, from one request; none before the first switch."""
        held = {alias.alias_name: alias.collection_name for alias in self._client.get_aliases().aliases}
        return {m: held[f"{self._use_case}-{m}"] for m in MODALITIES if f"{self._use_case}-{m}" in held}

    def switch(self, version: str, counts: Counts) -> None:
        """Let the aliases name a version, all modalities in one request; nothing is sent where they do so already."""
        from qdrant_client import models

        old, new = self.live(), {m: self._named(m, version) for m in counts}
        if old == new:
            return
        away = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=f"{self._use_case}-{modality}"))
            for modality in old
        ]
        here = [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=name, alias_name=f"{self._use_case}-{modality}")
            )
            for modality, name in new.items()
        ]
        self._client.update_collection_aliases([*away, *here])

    def remove(self, *versions: str) -> list[str]:
        """Remove the collections of versions; the names that were removed."""
        gone = self._collections() & {self._named(m, version) for m in MODALITIES for version in versions}
        for name in gone:
            self._client.delete_collection(name)
        return sorted(gone)

    def _named(self, modality: str, version: str) -> str:
        return f"{self._use_case}-{modality}-{version[:_SHORT]}"

    def _collections(self) -> set[str]:
        return {collection.name for collection in self._client.get_collections().collections}

    def _count(self, name: str) -> int:
        return self._client.count(name, exact=True).count
