"""An index inside this process, in one folder: qdrant-edge. One opener at a time, so readers open copies of a folder.

It keeps no write-ahead log: a build that dies is thrown away whole, so nothing but `close` has to make writes last.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl

from convergence.errors import SearchError
from convergence.search.backends import DENSE, EVERYTHING, SPARSE, Hit, Where, days, in_order, point_id, stored
from convergence.search.points import check_vector, checked

EXACT_BELOW = 20_000  # points; scanning fewer takes some 2 ms, and is exact
EF = 128  # candidates that a search of the graph keeps
_BATCH = 2_000
_CONFIG = "edge_config.json"  # the engine's own record of what a shard was made as


class EdgeIndex:
    """A shard of qdrant-edge. Threads may share it for reading."""

    def __init__(self, shard: Any, dimension: int) -> None:
        self.dimension = dimension
        self._shard = shard

    @classmethod
    def create(cls, folder: Path, dimension: int) -> Self:
        """A new, empty index in a folder, which is made if need be."""
        import qdrant_edge as edge

        folder.mkdir(parents=True, exist_ok=True)
        threshold = EXACT_BELOW * dimension * 4 // 1024  # the engine counts kilobytes of vectors
        config = edge.EdgeConfig(
            vectors={DENSE: edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Dot)},
            sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
            hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=EF, full_scan_threshold=threshold),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=threshold),
            wal_enabled=False,
        )
        shard = edge.EdgeShard.create(str(folder), config)
        for field, kind in (("day", edge.PayloadSchemaType.Integer), ("language", edge.PayloadSchemaType.Keyword)):
            shard.update(edge.UpdateOperation.create_field_index(field, kind))
        return cls(shard, dimension)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """An index that is there.

        Raises:
            SearchError: there is none, it is damaged, or another process has it open.
        """
        import qdrant_edge as edge

        try:
            dimension = cls.dimension_of(folder)
            return cls(edge.EdgeShard.load(str(folder)), dimension)
        except Exception as error:  # the engine's errors have no class of their own
            raise SearchError(
                f"the index {folder.name} cannot be opened ({type(error).__name__}): it is missing, damaged, or open "
                "elsewhere; open a copy, or build it again"
            ) from error

    @staticmethod
    def dimension_of(folder: Path) -> int:
        """The dimension of an index that nobody has to open for it."""
        return json.loads((folder / _CONFIG).read_text())["vectors"][DENSE]["size"]

    def upsert(self, points: pl.DataFrame) -> None:
        """Add points, or replace those of the same item; raises SearchError as VectorIndex says."""
        import qdrant_edge as edge

        for rows in checked(points, self.dimension).iter_slices(_BATCH):
            batch = [
                edge.Point(
                    id=point_id(row["item_id"]),
                    vector={
                        DENSE: row["vector"],
                        SPARSE: edge.SparseVector(indices=row["sparse_indices"], values=row["sparse_values"]),
                    },
                    payload=stored(row),
                )
                for row in rows.iter_rows(named=True)
            ]
            self._shard.update(edge.UpdateOperation.upsert_points(batch))

    def delete(self, item_ids: Collection[str]) -> None:
        """Remove items; those that are not there are ignored."""
        import qdrant_edge as edge

        if item_ids:
            self._shard.update(edge.UpdateOperation.delete_points([point_id(item) for item in item_ids]))

    def count(self) -> int:
        """How many items there are."""
        import qdrant_edge as edge

        return self._shard.count(edge.CountRequest(exact=True))

    def dense(self, vector: Sequence[float], k: int, where: Where = EVERYTHING) -> list[Hit]:
        """The nearest items, as VectorIndex says; exact below EXACT_BELOW points, by a graph above."""
        check_vector(vector, self.dimension)
        return self._nearest(list(vector), DENSE, k, where)

    def sparse(self, indices: Sequence[int], values: Sequence[float], k: int, where: Where = EVERYTHING) -> list[Hit]:
        """The items that share most with a query, as VectorIndex says; exact."""
        import qdrant_edge as edge

        query = edge.SparseVector(indices=list(indices), values=list(values))
        return self._nearest(query, SPARSE, k, where) if indices else []

    def optimize(self) -> None:
        """Build the graph where there are enough points for one; takes minutes for 100,000."""
        self._shard.optimize()

    def close(self) -> None:
        """Write what is pending, and let the folder go."""
        self._shard.flush()
        self._shard.close()

    def _nearest(self, query: Any, using: str, k: int, where: Where) -> list[Hit]:
        import qdrant_edge as edge

        nearest, chosen = edge.Query.Nearest(query, using=using), _filter(where)
        # An empty filter has the engine count what is there now; by itself it counts deleted points too.
        parameters = edge.SearchParams(
            hnsw_ef=EF, idf=edge.IdfParams(corpus=edge.Filter()) if using == SPARSE else None
        )

        def fetch(limit: int) -> list[Hit]:
            request = edge.QueryRequest(
                limit=limit,
                query=nearest,
                filter=chosen,
                params=parameters,
                with_payload=["item_id", "payload"],
            )
            found = self._shard.query(request)
            return [Hit(point.payload["item_id"], point.score, point.payload["payload"]) for point in found]

        return in_order(fetch, k)


def _filter(where: Where) -> Any:
    import qdrant_edge as edge

    must: list[Any] = []
    if where.first_day or where.last_day:
        must.append(edge.FieldCondition(key="day", range=edge.RangeFloat(**days(where))))
    if where.languages is not None:
        must.append(edge.FieldCondition(key="language", match=edge.MatchAny(list(where.languages))))
    if where.only is not None:
        must.append(edge.HasIdCondition({point_id(item) for item in where.only}))
    without: list[Any] = [edge.HasIdCondition({point_id(item) for item in where.without})] if where.without else []
    return edge.Filter(must=must, must_not=without) if must or without else None
