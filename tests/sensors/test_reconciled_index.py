"""What the reconcile sensor asks for on the real graph of semantic search, by the rules alone: nothing is run here."""

from collections.abc import Iterator

import pytest

from convergence.lake.manifests import PartitionState, inputs_digest
from convergence.versions.reconcile import Node, stale_partitions
from convergence_assets.definitions import defs
from resources.graph import lake_nodes
from sensors.reconcile import REBUILT

USE_CASE = "semantic_search"
ITEMS = f"{USE_CASE}/raw_items"
DAY, NEXT_DAY = "2024-01-05", "2024-01-06"

States = dict[str, dict[str, PartitionState]]
NODES = [node for node in lake_nodes(defs.resolve_all_asset_specs()) if node.table.startswith(f"{USE_CASE}/")]


def made(states: States, node: Node, key: str, content: str) -> None:
    """Make a partition from what is there."""
    read = {
        up: {k: states[up][k].content_hash for k in keys(key) if k in states.get(up, {})}
        for up, keys in node.upstream.items()
    }
    state = PartitionState(0, 1, f"{node.table} {key} {content}", inputs_digest(read), node.code_version, "run", ())
    states.setdefault(node.table, {})[key] = state


@pytest.fixture
def in_sync() -> States:
    """Every partition of every table, made in order."""
    states: States = {}
    for node in NODES:
        for key in node.partitions:
            made(states, node, key, "before")
    return states


def settle(states: States) -> Iterator[tuple[str, str]]:
    """Table and partition of what the sensor asks for until all is in sync; each run changes what it makes."""
    nodes = {node.table: node for node in NODES if node.layer in REBUILT}
    while ready := [one for one in stale_partitions(nodes.values(), states) if one.ready]:
        for one in ready:
            made(states, nodes[one.table], one.partition, "after")
            yield one.table, one.partition


def test_nothing_is_asked_for_where_nothing_changed(in_sync: States) -> None:
    assert list(settle(in_sync)) == []


def test_a_changed_item_reaches_the_index_and_its_release_and_no_model_or_evaluation(in_sync: States) -> None:
    (raw,) = (node for node in NODES if node.table == ITEMS)
    made(in_sync, raw, DAY, "another item")
    asked = list(settle(in_sync))
    layers = {node.table: node.layer for node in NODES}
    assert {layers[table] for table, _ in asked} <= {"dataset", "feature", "embedding", "index", "monitoring"}
    for table in ("search_items", "text_embeddings", "code_embeddings", "image_embeddings"):
        assert [key for name, key in asked if name == f"{USE_CASE}/{table}"] == [DAY]
    for table in ("search_index", "search_releases"):
        keys = sorted({key for name, key in asked if name == f"{USE_CASE}/{table}"})
        assert keys[0] == DAY
        assert keys[1] == NEXT_DAY  # an index is all that was found by then, so later days have it too
    assert len(asked) == len(set(asked))


def test_another_encoder_reaches_the_embeddings_and_the_index_of_every_day(in_sync: States) -> None:
    (encoder,) = (node for node in NODES if node.table == f"{USE_CASE}/code_encoder")
    made(in_sync, encoder, "", "another encoder")
    asked = {table.partition("/")[2] for table, _ in settle(in_sync)}
    assert asked >= {"code_embeddings", "search_index", "search_releases"}
    assert asked.isdisjoint({"text_embeddings", "image_embeddings", "search_rankers", "search_quality"})
