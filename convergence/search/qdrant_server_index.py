"""An index on a Qdrant server, through qdrant-client: one collection, which is addressed by name or by alias."""

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

import polars as pl

from convergence.errors import IndexMissing, SearchError, ServiceError, SettingsError
from convergence.search.backends import DENSE, EVERYTHING, SPARSE, Hit, Where, days, in_order, point_id, stored
from convergence.search.points import check_vector, checked

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_BATCH = 100  # with payloads of 100 kB a request stays below the server's limit of 32 MB
_KEY = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class _Answering:
    """A client whose failures are ServiceError; by its setting they name the server, as clients of ours read them."""

    def __init__(self, client: "QdrantClient") -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._client, name)

        def asked(*args: Any, **options: Any) -> Any:
            try:
                return method(*args, **options)
            except ResponseHandlingException as error:
                raise ServiceError(
                    "the Qdrant server of CONVERGENCE_QDRANT does not answer: start it, or unset the setting to search "
                    "embedded indexes"
                ) from error
            except UnexpectedResponse as error:
                if error.status_code == HTTPStatus.NOT_FOUND:
                    raise IndexMissing(
                        "the Qdrant server of CONVERGENCE_QDRANT has no such collection: build the index again"
                    ) from error
                raise ServiceError(
                    f"the Qdrant server of CONVERGENCE_QDRANT refuses {name} ({error.status_code}): see its log"
                    + "; it wants another CONVERGENCE_QDRANT_KEY" * (error.status_code in _KEY)
                ) from error
            except (ApiException, QdrantException, ValueError, AssertionError) as error:
                raise ServiceError(
                    f"what CONVERGENCE_QDRANT names does not answer {name} as Qdrant does ({type(error).__name__}): "
                    "correct the address, or look at the server"
                ) from error

        return asked


def connect(url: str, api_key: str | None = None, timeout: int = 30) -> "QdrantClient":
    """A client for a server by URL; seconds until a request is given up.

    Raises:
        SettingsError: no such URL. Each call raises ServiceError where the server does not answer or refuses.
    """
    from qdrant_client import QdrantClient

    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # its text holds the address, and that may hold a password
        usable = False
    if not usable:
        raise SettingsError("CONVERGENCE_QDRANT is not of the form http://host:6333: correct it")
    client = QdrantClient(url=url, api_key=api_key, timeout=timeout, check_compatibility=False)
    return cast("QdrantClient", _Answering(client))


class ServerIndex:
    """A collection of a Qdrant server. Threads may share it.

    Raises:
        SearchError: there is no such collection, or it holds other vectors than an index of ours.
    """

    def __init__(self, client: "QdrantClient", collection: str) -> None:
        self._client, self._collection = client, collection
        try:
            vectors = client.get_collection(collection).config.params.vectors
            self.dimension = int(vectors[DENSE].size)  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]
        except (ServiceError, IndexMissing):
            raise
        except Exception as error:  # the local mode, HTTP and gRPC each raise their own
            raise SearchError(
                f"collection {collection} cannot be used ({type(error).__name__}): it is missing or was made by "
                "somebody else, or the server does not answer; build the index again"
            ) from error

    @classmethod
    def create(cls, client: "QdrantClient", collection: str, dimension: int) -> Self:
        """A new, empty collection."""
        from qdrant_client import models

        client.create_collection(
            collection,
            vectors_config={DENSE: models.VectorParams(size=dimension, distance=models.Distance.DOT)},
            sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
        for field, kind in (("day", models.PayloadSchemaType.INTEGER), ("language", models.PayloadSchemaType.KEYWORD)):
            client.create_payload_index(collection, field, kind)
        return cls(client, collection)

    def upsert(self, points: pl.DataFrame) -> None:
        """Add points, or replace those of the same item; raises SearchError as VectorIndex says."""
        from qdrant_client import models

        for rows in checked(points, self.dimension).iter_slices(_BATCH):
            batch = [
                models.PointStruct(
                    id=point_id(row["item_id"]),
                    vector={
                        DENSE: row["vector"],
                        SPARSE: models.SparseVector(indices=row["sparse_indices"], values=row["sparse_values"]),
                    },
                    payload=stored(row),
                )
                for row in rows.iter_rows(named=True)
            ]
            self._client.upsert(self._collection, batch, wait=True)

    def delete(self, item_ids: Collection[str]) -> None:
        """Remove items; those that are not there are ignored."""
        from qdrant_client import models

        if item_ids:
            ids: list[Any] = [point_id(item) for item in item_ids]
            self._client.delete(self._collection, models.PointIdsList(points=ids), wait=True)

    def count(self) -> int:
        """How many items there are."""
        return self._client.count(self._collection, exact=True).count

    def dense(self, vector: Sequence[float], k: int, where: Where = EVERYTHING) -> list[Hit]:
        """The nearest items, as VectorIndex says; above the server's own threshold by a graph."""
        check_vector(vector, self.dimension)
        return self._nearest(list(vector), DENSE, k, where)

    def sparse(self, indices: Sequence[int], values: Sequence[float], k: int, where: Where = EVERYTHING) -> list[Hit]:
        """The items that share most with a query, as VectorIndex says; exact."""
        from qdrant_client import models

        query = models.SparseVector(indices=list(indices), values=list(values))
        return self._nearest(query, SPARSE, k, where) if indices else []

    def close(self) -> None:
        """Nothing to do: whoever made the client closes it."""

    def _nearest(self, query: Any, using: str, k: int, where: Where) -> list[Hit]:
        from qdrant_client import models

        chosen = _filter(where)
        # An empty corpus filter has the server count what is there now; by itself it counts deleted points too.
        idf = models.IdfCorpusParams(corpus=models.Filter()) if using == SPARSE else None

        def fetch(limit: int) -> list[Hit]:
            found = self._client.query_points(
                self._collection,
                query=query,
                using=using,
                limit=limit,
                query_filter=chosen,
                search_params=models.SearchParams(idf=idf),
                with_payload=["item_id", "payload"],
            )
            payloads = [(point.payload or {}, point.score) for point in found.points]
            return [Hit(payload["item_id"], score, payload["payload"]) for payload, score in payloads]

        return in_order(fetch, k)


def _filter(where: Where) -> Any:
    from qdrant_client import models

    must: list[Any] = []
    if where.first_day or where.last_day:
        must.append(models.FieldCondition(key="day", range=models.Range(**days(where))))
    if where.languages is not None:
        must.append(models.FieldCondition(key="language", match=models.MatchAny(any=list(where.languages))))
    if where.only is not None:
        must.append(models.HasIdCondition(has_id=[point_id(item) for item in where.only]))
    without: list[Any] = (
        [models.HasIdCondition(has_id=[point_id(item) for item in where.without])] if where.without else []
    )
    return models.Filter(must=must, must_not=without) if must or without else None
