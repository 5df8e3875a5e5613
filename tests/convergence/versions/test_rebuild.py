from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ArrivalError
from convergence.lake.content_hash import EMPTY
from convergence.lake.generations import reserve
from convergence.lake.manifests import PartitionState, build_manifest
from convergence.lake.tables import Lake, by_day
from convergence.versions.rebuild import (
    Comparison,
    compare,
    from_start,
    landed_ranges,
    new_generation,
    refuse_lost_beginning,
    stream_derived,
    with_companions,
)
from convergence.versions.reconcile import Node
from tests.convergence.lake.frames import PROVENANCE, rows, write

LAYERS = {"dataset", "feature"}


def node(table: str, layer: str, *upstream: str) -> Node:
    return Node(table, ["2024-01-01"], dict.fromkeys(upstream, lambda key: [key]), "1", layer)


def test_stream_derived_is_what_follows_from_the_landed_tables_up_to_the_first_decision() -> None:
    nodes = [
        node("fraud/raw", "raw"),
        node("fraud/countries", "dataset"),
        node("fraud/transactions", "dataset", "fraud/raw", "fraud/countries"),
        node("fraud/features", "feature", "fraud/transactions"),
        node("fraud/model", "model", "fraud/features"),
        node("fraud/model_features", "feature", "fraud/model"),
        node("fraud/scores", "prediction", "fraud/features", "fraud/model"),
        node("churn/features", "feature", "fraud/transactions"),
    ]
    found = stream_derived(nodes, {"fraud/raw"}, LAYERS)
    assert [n.table for n in found] == ["fraud/raw", "fraud/transactions", "fraud/features"]


def test_what_was_kept_from_a_table_belongs_to_its_generation(lake: Lake) -> None:
    number, tables = new_generation(lake, "fraud", ["fraud/raw"])
    assert tables == dict.fromkeys(["fraud/raw", "fraud/raw_rejected", "fraud/raw_late"], number)
    assert list(tables) == with_companions(["fraud/raw"])


def test_the_number_of_a_generation_that_was_removed_is_not_used_again(lake: Lake) -> None:
    write(lake.at({"fraud/raw": 5, "other/raw": 9}), rows(0, 1), table="fraud/raw")
    write(lake.at({"other/raw": 9}), rows(0, 1), table="other/raw")
    assert [new_generation(lake, "fraud", [])[0], reserve(lake.store, "other")] == [6, 10]


def land(lake: Lake, offsets: dict[str, list[int]]) -> None:
    """A commit as the lander makes it."""
    frame = rows(0, 1)
    manifest = build_manifest(by_day(frame), "append", PROVENANCE) | {"offsets": offsets}
    consumed = {application: end for application, (_, end) in offsets.items()}
    lake.append("fraud/raw", frame, manifest, consumed, lake.open("fraud/raw"), dated=True)


def test_landed_ranges_are_joined_over_the_commits_and_keep_their_gaps(lake: Lake) -> None:
    assert landed_ranges(lake, "fraud/raw") == {}
    for offsets in ({"a": [0, 5], "b": [2, 3]}, {"a": [5, 9]}, {"a": [12, 14], "c": [0, 0]}):
        land(lake, offsets)
    assert landed_ranges(lake, "fraud/raw") == {"a": [(0, 9), (12, 14)], "b": [(2, 3)], "c": [(0, 0)]}


OFFSETS = st.sets(st.integers(0, 30))


def ranges(offsets: set[int]) -> list[tuple[int, float]]:
    """Sets of offsets as ranges, by hand."""
    found: list[tuple[int, float]] = []
    for offset in sorted(offsets):
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return found


@given(st.dictionaries(st.sampled_from("abc"), OFFSETS), st.dictionaries(st.sampled_from("abc"), OFFSETS))
def test_each_message_that_is_gone_is_counted(landed: dict[str, set[int]], there: dict[str, set[int]]) -> None:
    gone = sum(len(offsets - there.get(application, set())) for application, offsets in landed.items())
    arguments = [{k: ranges(v) for k, v in each.items()} for each in (landed, there)]
    if gone:
        with pytest.raises(ArrivalError, match=rf": {gone} of the messages .* are gone"):
            refuse_lost_beginning("fraud/raw", *arguments)
    else:
        refuse_lost_beginning("fraud/raw", *arguments)


def test_a_log_that_starts_later_than_it_was_landed_has_lost_its_beginning() -> None:
    landed = {"kafka/t@1/0": [(0, 100)], "kafka/t@1/1": [(0, 50)]}
    refuse_lost_beginning("fraud/raw", landed, from_start({"kafka/t@1/0": 0, "kafka/t@1/1": 0, "new": 7}))
    with pytest.raises(ArrivalError, match=r"fraud/raw cannot be made anew: 70 of .* 1 partitions, e.g. 70 of kafka"):
        refuse_lost_beginning("fraud/raw", landed, from_start({"kafka/t@1/0": 70, "kafka/t@1/1": 0}))


def states(**contents: str) -> dict[str, dict[str, PartitionState]]:
    return {"t": {key: PartitionState(1, 2, content, "", "1", "run", ()) for key, content in contents.items()}}


@pytest.mark.parametrize(
    ("old", "new", "equal", "verdict"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, 2, "equal"),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, 1, "1 different, first b"),
        ({"a": "1", "b": EMPTY}, {"a": "1"}, 1, "equal"),
        ({"a": EMPTY}, {"a": "1"}, 0, "1 new, first a"),
        ({"a": "1", "b": "1"}, {"b": "2", "c": "1"}, 0, "1 different, first b; 1 new, first c; 1 gone, first a"),
        ({"": "1"}, {"": "2"}, 0, "1 different, first the whole table"),
        ({}, {}, 0, "equal"),
    ],
    ids=["equal", "different", "empty_is_absent", "new", "all", "whole", "nothing"],
)
def test_tables_are_compared_by_the_content_of_their_partitions(
    old: dict[str, str], new: dict[str, str], equal: int, verdict: str
) -> None:
    (found,) = compare(["t"], states(**old), states(**new))
    assert (found.equal, found.verdict, found.partitions, found.rows) == (equal, verdict, len(new), 2 * len(new))


def test_a_table_on_neither_side_is_compared_too() -> None:
    nothing: Sequence[str] = []
    assert compare(["t"], {}, {}) == [Comparison("t", 0, 0, 0, nothing, nothing, nothing)]
