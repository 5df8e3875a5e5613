"""Versions of an index on a Qdrant server: a collection per modality and version, and one alias per modality.

What is live is decided by the snapshots, which ask collections by name: no query mixes versions. The aliases follow,
all in one request, for whoever asks the server directly.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from convergence.errors import IndexMissing
from convergence.search.backends import VectorIndex
from convergence.search.contents import Points
from convergence.search.qdrant_server_index import ServerIndex

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_SHORT = 12  # hex digits of a version in the name of a collection


class ServerRelease:
    """The indexes of one use case on a server. Collections are named `<use case>-<modality>-<12 digits of version>`."""

    def __init__(self, client: "QdrantClient", use_case: str) -> None:
        self._client, self._use_case = client, use_case

    def build(self, version: str, points: Points) -> int:
        """Make the collections of a version; returns how many points were sent: none to collections that are whole.

        A collection with fewer or more points than it should have is what a killed build left, and is made anew.

        Raises:
            SearchError: points that do not fit (see VectorIndex).
        """
        sent = 0
        for modality, rows in points.items():
            name = f"{self._use_case}-{modality}-{version[:_SHORT]}"
            if not rows.height or self._whole(name, rows.height):
                continue
            self._client.delete_collection(name)
            ServerIndex.create(self._client, name, len(rows["vector"][0])).upsert(rows)
            sent += rows.height
        return sent

    def opened(self, version: str) -> Mapping[str, VectorIndex]:
        """The indexes of a version by modality. Raises IndexMissing where there are none."""
        return {m: ServerIndex(self._client, name) for m, name in self._of(version).items()}

    @property
    def engine(self) -> dict[str, str]:
        """Name of the engine, and version of the server."""
        return {"name": "qdrant", "version": self._client.info().version}

    def live(self) -> Mapping[str, str]:
        """The collections that the aliases name, by modality, from one request; none before the first switch."""
        mine = f"{self._use_case}-"
        pairs = {alias.alias_name: alias.collection_name for alias in self._client.get_aliases().aliases}
        return {name.removeprefix(mine): held for name, held in pairs.items() if name.startswith(mine)}

    def switch(self, version: str) -> None:
        """Let the aliases name a version, all modalities in one request; nothing is sent where they do so already.

        Raises:
            IndexMissing: the version is not on the server.
        """
        from qdrant_client import models

        old, new = self.live(), self._of(version)
        if old == new:
            return
        away = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._alias(modality)))
            for modality in old
        ]
        here = [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=name, alias_name=self._alias(modality))
            )
            for modality, name in new.items()
        ]
        self._client.update_collection_aliases([*away, *here])

    def remove(self, *versions: str) -> list[str]:
        """Remove the collections of versions; the names that were removed."""
        ends = tuple(f"-{version[:_SHORT]}" for version in versions)
        gone = [name for name in self._collections() if name.endswith(ends)]
        for name in gone:
            self._client.delete_collection(name)
        return gone

    def _whole(self, name: str, points: int) -> bool:
        return name in self._collections() and self._client.count(name, exact=True).count == points

    def _of(self, version: str) -> dict[str, str]:
        end = f"-{version[:_SHORT]}"
        names = [name for name in self._collections() if name.endswith(end)]
        if not names:
            raise IndexMissing(f"index version {version[:_SHORT]} is not on the server: build it first")
        return {name.removeprefix(f"{self._use_case}-").removesuffix(end): name for name in names}

    def _collections(self) -> list[str]:
        there = (collection.name for collection in self._client.get_collections().collections)
        return sorted(name for name in there if name.startswith(f"{self._use_case}-"))

    def _alias(self, modality: str) -> str:
        return f"{self._use_case}-{modality}"
