"""What a plan says of a small graph: which tables, in which order, and what they would take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.lake.manifests import PartitionState, inputs_digest
from convergence.lake.tables import WHOLE
from convergence.observability.usage import Usage
from convergence.versions.plan import AS_BEFORE, NOTHING, encoding, estimated, scaled, steps, total
from convergence.versions.reconcile import Node

DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]
BY_ITSELF = {"embedding", "index"}
States = dict[str, dict[str, PartitionState]]


def node(table: str, layer: str, *upstream: str, whole: bool = False) -> Node:
    def reads(up: str, key: str) -> list[str]:
        return [WHOLE] if up in ("encoder", "ranker") else DAYS if whole else [key]

    return Node(
        table, [WHOLE] if whole else DAYS, {up: lambda key, up=up: reads(up, key) for up in upstream}, "1", layer
    )


NODES = [
    node("items", "raw"),
    node("encoder", "model", whole=True),
    node("vectors", "embedding", "items", "encoder"),
    node("ranker", "model", "vectors", whole=True),
    node("index", "index", "vectors", "ranker"),
    node("words", "embedding", "items"),
]


@pytest.fixture
def states() -> States:
    """All in sync, ten rows a partition."""
    held: States = {}
    for one in NODES:
        for key in one.partitions:
            read = {up: {k: held[up][k].content_hash for k in keys(key)} for up, keys in one.upstream.items()}
            state = PartitionState(0, 10, f"{one.table} {key}", inputs_digest(read), "1", "run", ())
            held.setdefault(one.table, {})[key] = state
    return held


def test_nothing_is_planned_where_all_is_in_sync(states: States) -> None:
    assert steps(NODES, states, {}, by_itself=BY_ITSELF) == []
    assert steps(NODES, states, {}, by_itself=BY_ITSELF, changed={}) == []


def test_another_encoder_makes_all_that_follows_anew_upstream_first(states: States) -> None:
    found = steps(NODES, states, {}, by_itself=BY_ITSELF, changed={"encoder": "another one"})
    assert [(s.table, len(s.partitions), s.rows, s.by_itself) for s in found] == [
        ("encoder", 1, 10, False), ("vectors", 3, 30, True), ("ranker", 1, 10, False), ("index", 3, 30, True),
    ]  # fmt: skip
    assert [s.reason for s in found[:2]] == ["another one", "inputs changed"]


def test_a_changed_table_is_planned_where_it_was_never_made(states: States) -> None:
    del states["encoder"]
    found = steps(NODES, states, {}, by_itself=BY_ITSELF, changed={"encoder": "the first"})
    assert found[0].table == "encoder"
    assert (found[0].rows, found[0].unknown) == (0, 1)


def test_without_a_change_it_is_what_the_sensor_would_do_now(states: States) -> None:
    states["items"][DAYS[1]] = states["items"][DAYS[1]]._replace(content_hash="changed")
    found = steps(NODES, states, {}, by_itself=BY_ITSELF)
    assert [(s.table, s.partitions) for s in found] == [("vectors", [DAYS[1]]), ("index", [DAYS[1]]),
                                                        ("words", [DAYS[1]])]  # fmt: skip


def test_it_takes_what_it_took_last(states: States) -> None:
    took = {"vectors": {key: Usage(2.0, 1.0, 100.0 * n) for n, key in enumerate(DAYS)}}
    found = {s.table: s for s in steps(NODES, states, took, by_itself=BY_ITSELF, changed={"encoder": "another one"})}
    assert (found["vectors"].usage, found["vectors"].unknown) == (Usage(6.0, 3.0, 200.0), 0)
    assert found["vectors"].basis == AS_BEFORE
    assert (found["index"].usage, found["index"].unknown) == (NOTHING, 3)


def test_a_partition_that_was_never_measured_is_taken_for_a_usual_one() -> None:
    took = {"a": Usage(4.0, 2.0, 50.0), "b": Usage(2.0, 1.0, 60.0)}
    rows = {"a": 20, "b": 10, "c": 5}
    assert estimated(["c"], rows, took) == (Usage(1.0, 0.5, 60.0), 0)  # by its rows
    assert estimated(["d"], rows, took) == (Usage(3.0, 1.5, 60.0), 0)  # by the table's mean
    assert estimated(["c", "d"], rows, {}) == (NOTHING, 2)


usages = st.builds(Usage, *(st.floats(0, 1e6) for _ in range(3)))


@given(took=st.dictionaries(st.sampled_from("abcdef"), usages), rows=st.dictionaries(st.sampled_from("abcdef"),
       st.integers(0, 1000)))  # fmt: skip
def test_more_partitions_never_take_less(took: dict[str, Usage], rows: dict[str, int]) -> None:
    few, many = (estimated(keys, rows, took)[0] for keys in ("abc", "abcdef"))
    assert all(a <= b + 1e-6 for a, b in zip(few, many, strict=True))


def test_of_one_after_another_only_the_largest_peak_counts() -> None:
    assert total([Usage(1, 2, 300), Usage(10, 20, 30)]) == Usage(11, 22, 300)
    assert total([]) == NOTHING
    assert scaled(Usage(1, 2, 300), 2.5) == Usage(2.5, 5, 300)


def test_vectors_take_what_encoding_the_new_contents_takes(states: States) -> None:
    took = {"vectors": dict.fromkeys(DAYS, Usage(1.0, 1.0, 1.0))}
    step = steps(NODES, states, took, by_itself=BY_ITSELF, changed={"encoder": "another one"})[1]
    measured = encoding(step, (25, 5), Usage(0.5, 0.25, 700.0), "measured")
    assert (measured.usage, measured.encoded, measured.basis) == (Usage(12.5, 6.25, 700.0), (25, 5), "measured")
    unmeasured = encoding(step, (25, 5), None, "")
    assert (unmeasured.usage, unmeasured.encoded, unmeasured.basis) == (step.usage, (25, 5), AS_BEFORE)
