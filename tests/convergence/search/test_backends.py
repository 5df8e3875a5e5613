"""One suite for every engine: what goes in comes out, filtered, in one order, as a slow count says."""

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from convergence.errors import SearchError, ServiceError
from convergence.search.backends import EVERYTHING, Hit, VectorIndex, Where, in_order
from convergence.search.qdrant_edge_index import EdgeIndex
from convergence.search.qdrant_server_index import ServerIndex, connect
from tests.convergence.search.index_points import DIMENSION, FIRST, exact_dense, exact_sparse, made, units

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

Make = Callable[[], VectorIndex]


@pytest.fixture(params=["edge", "memory", "local"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes empty indexes of one engine."""
    numbers, opened = itertools.count(), []
    client = {
        "edge": lambda: None,
        "memory": lambda: QdrantClient(":memory:"),
        "local": lambda: QdrantClient(path=str(tmp_path / "local")),
    }[request.param]()

    def new() -> VectorIndex:
        name = f"index-{next(numbers)}"
        index = ServerIndex.create(client, name, DIMENSION) if client else EdgeIndex.create(tmp_path / name, DIMENSION)
        opened.append(index)
        return index

    yield new
    for index in opened:
        index.close()
    if client:
        client.close()


@pytest.fixture
def index(make: Make) -> VectorIndex:
    return make()


def pairs(hits: list[Hit]) -> list[tuple[str, float]]:
    return [(hit.item_id, pytest.approx(hit.score, rel=1e-4, abs=1e-5)) for hit in hits]


def test_an_index_is_a_vector_index(index: VectorIndex) -> None:
    assert isinstance(index, VectorIndex)
    assert index.dimension == DIMENSION


def test_an_empty_index_finds_nothing(index: VectorIndex) -> None:
    assert index.count() == 0
    assert index.dense(units(1)[0].tolist(), 5) == index.sparse([1], [1.0], 5) == []


def test_payloads_come_back_as_they_were_given_and_ids_may_be_any_text(index: VectorIndex) -> None:
    points = made(8).with_columns(
        item_id=pl.Series(["日本", "a b", "", "é", "e\u0301", "../..", '"quoted"', "🎈"]),
        payload=pl.Series(['{"a": "é"}', "", "not json", "[]", "1", "null", '{"b": {"c": 1}}', "{}"]),
    )
    index.upsert(points)
    given = dict(zip(points["item_id"], points["payload"], strict=True))
    found = index.dense(points["vector"][0].to_list(), 8)
    assert {hit.item_id: hit.payload for hit in found} == given


def test_an_item_that_is_there_is_replaced(index: VectorIndex) -> None:
    points = made(20)
    index.upsert(points)
    changed = points.head(1).with_columns(payload=pl.lit("new"), language=pl.lit("go"))
    index.upsert(changed)
    assert index.count() == 20
    (hit,) = index.dense(changed["vector"][0].to_list(), 5, Where(languages=["go"]))
    assert (hit.item_id, hit.payload) == (points["item_id"][0], "new")


def test_deleted_items_are_gone_and_others_stay(index: VectorIndex) -> None:
    points = made(20)
    index.upsert(points)
    gone = points["item_id"].head(5).to_list()
    index.delete([*gone, "was never there"])
    index.delete([])
    left = points.tail(15)
    assert index.count() == 15
    assert {hit.item_id for hit in index.dense(units(1)[0].tolist(), 20)} == set(left["item_id"])
    assert pairs(index.sparse([0], [1.0], 20)) == exact_sparse(left, [0], [1.0], 20, EVERYTHING)


def test_more_asked_for_than_there_is_gives_all(index: VectorIndex) -> None:
    index.upsert(made(7))
    assert len(index.dense(units(1)[0].tolist(), 1_000)) == 7


def test_none_asked_for_gives_none(index: VectorIndex) -> None:
    index.upsert(made(7))
    assert index.dense(units(1)[0].tolist(), 0) == []


def test_pages_of_equal_scores_join_to_the_whole(index: VectorIndex) -> None:
    points = made(60).with_columns(vector=pl.lit(pl.Series([units(1)[0].tolist()])).first())
    index.upsert(points)
    whole = [hit.item_id for hit in index.dense(units(1)[0].tolist(), 60)]
    assert whole == sorted(points["item_id"])
    assert all([h.item_id for h in index.dense(units(1)[0].tolist(), k)] == whole[:k] for k in range(1, 60, 7))


FILTERS = [
    EVERYTHING,
    Where(first_day=FIRST + timedelta(days=3)),
    Where(last_day=FIRST + timedelta(days=3)),
    Where(first_day=FIRST + timedelta(days=3), last_day=FIRST + timedelta(days=3)),
    Where(first_day=FIRST + timedelta(days=4), last_day=FIRST + timedelta(days=3)),
    Where(languages=["python"]),
    Where(languages=["java", "cobol"]),
    Where(languages=[]),
    Where(without=made()["item_id"].head(30).to_list()),
    Where(only=made()["item_id"].gather_every(7).to_list()),
    Where(only=[]),
    Where(FIRST, FIRST + timedelta(days=7), ["java"], made()["item_id"].head(9).to_list()),
]


@pytest.mark.parametrize("where", FILTERS, ids=range(len(FILTERS)))
def test_hits_are_those_of_a_slow_count_under_every_filter(index: VectorIndex, where: Where) -> None:
    points = made()
    index.upsert(points)
    for seed, k in itertools.product(range(3), (1, 5, 100)):
        vector = units(1, seed=seed + 1)[0].tolist()
        assert pairs(index.dense(vector, k, where)) == exact_dense(points, vector, k, where)
        terms, values = [0, 300_000_000 * seed + 300_000_000, 3_300_000_000, 7], [1.0, 0.5, 1.0, 1.0]
        assert pairs(index.sparse(terms, values, k, where)) == exact_sparse(points, terms, values, k, where)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 19), max_size=8)), max_size=6),
    seed=st.integers(0, 99),
)
def test_an_index_is_what_its_writes_leave(make: Make, steps: list[Any], seed: int) -> None:
    index, versions, there = make(), [made(20, seed=n) for n in range(3)], {}
    names = versions[0]["item_id"]
    for number, (adds, which) in enumerate(steps):
        rows = versions[number % 3].with_columns(item_id=names)[sorted(which)]
        if adds:
            index.upsert(rows)
            there |= {row["item_id"]: row for row in rows.to_dicts()}
        else:
            index.delete(rows["item_id"].to_list())
            there = {item: row for item, row in there.items() if item not in set(rows["item_id"])}
    left = pl.DataFrame(list(there.values()), schema=versions[0].schema)
    vector = units(1, seed=seed)[0].tolist()
    assert index.count() == left.height
    assert pairs(index.dense(vector, 7)) == exact_dense(left, vector, 7, EVERYTHING)
    terms = [0, 600_000_000, 900_000_000]
    assert pairs(index.sparse(terms, [1.0] * 3, 7)) == exact_sparse(left, terms, [1.0] * 3, 7, EVERYTHING)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"vector": [1.0] + [0.0] * DIMENSION}, r"of \[9\] dimensions do not fit an index of 8"),
        ({"vector": [float("nan")] + [0.0] * (DIMENSION - 1)}, "not of length 1, e.g. nan"),
        ({"vector": [2.0] + [0.0] * (DIMENSION - 1)}, "not of length 1, e.g. 2"),
        ({"vector": [float("inf")] + [0.0] * (DIMENSION - 1)}, "not of length 1"),
        ({"item_id": "the same"}, "1 items are there more than once"),
        ({"payload": None}, r"nulls in \['payload'\]"),
        ({"sparse_values": [1.0] * 9}, "more indices than values"),
    ],
    ids=["dimension", "nan", "length", "infinite", "repeated", "null", "sparse"],
)
def test_points_that_do_not_fit_are_refused_and_nothing_is_written(
    index: VectorIndex, change: dict[str, Any], what: str
) -> None:
    points = made(3)
    literal = {k: pl.lit(pl.Series([v], dtype=points.schema[k])).first() for k, v in change.items()}
    with pytest.raises(SearchError, match=what):
        index.upsert(points.with_columns(**literal))
    assert index.count() == 0


def test_points_without_a_column_are_refused_and_it_is_named(index: VectorIndex) -> None:
    with pytest.raises(SearchError, match=r"lack \['vector'\]"):
        index.upsert(made(3).drop("vector"))


@pytest.mark.parametrize("bad", [[1.0], [float("nan")] * DIMENSION, [1.0] * DIMENSION])
def test_queries_that_do_not_fit_are_refused(index: VectorIndex, bad: list[float]) -> None:
    index.upsert(made(3))
    with pytest.raises(SearchError, match=r"expected finite vectors, normalised|do not fit an index of 8"):
        index.dense(bad, 1)


def test_a_query_without_terms_finds_nothing(index: VectorIndex) -> None:
    index.upsert(made(10))
    assert index.sparse([], [], 5) == []


def test_an_edge_index_is_on_disk_once_closed(tmp_path: Path) -> None:
    points, index = made(), EdgeIndex.create(tmp_path / "i", DIMENSION)
    index.upsert(points)
    index.close()
    again = EdgeIndex.open(tmp_path / "i")
    assert (again.count(), again.dimension) == (60, DIMENSION)
    assert pairs(again.dense(units(1)[0].tolist(), 9)) == exact_dense(points, units(1)[0].tolist(), 9, EVERYTHING)
    again.close()


def test_a_folder_that_holds_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"the index empty cannot be opened.*build it again"):
        EdgeIndex.open(tmp_path / "empty")


def test_a_collection_that_is_not_there_is_refused() -> None:
    with pytest.raises(SearchError, match="collection nothing cannot be used"):
        ServerIndex(QdrantClient(":memory:"), "nothing")


def test_a_server_that_does_not_answer_is_one_clear_error() -> None:
    with pytest.raises(ServiceError, match="server of CONVERGENCE_QDRANT does not answer"):
        ServerIndex(connect("http://127.0.0.1:9", api_key=None, timeout=2), "anything")


@given(
    scores=st.lists(st.sampled_from([0.1, 0.5, 0.9]), max_size=40),
    k=st.integers(0, 45),
    seed=st.integers(0, 1000),
)
def test_no_tie_is_cut_however_an_engine_orders_equal_scores(scores: list[float], k: int, seed: int) -> None:
    hits = [Hit(f"{n:02}", score, "") for n, score in enumerate(scores)]
    order = np.random.default_rng(seed).permutation(len(hits))
    engine = sorted((hits[n] for n in order), key=lambda hit: -hit.score)
    assert in_order(lambda limit: engine[:limit], k) == sorted(hits, key=lambda h: (-h.score, h.item_id))[:k]
