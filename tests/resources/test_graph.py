import dagster as dg

from convergence.lake.tables import WHOLE
from resources.graph import lake_nodes
from tests.resources.readings import DAYS, WEEKLY, WEEKS, made_from, readings, summed, values_of


def specs(*assets: dg.AssetsDefinition) -> list[dg.AssetSpec]:
    return [spec for asset in assets for spec in asset.specs]


def test_tables_come_after_what_they_read_whatever_the_order_of_the_assets() -> None:
    root = readings(values_of())
    total = summed(root, -2)
    nodes = lake_nodes(specs(made_from(total, "copy"), total, root))
    assert [node.table for node in nodes] == ["readings", "summed", "copy"]


def test_a_node_says_which_partitions_of_its_upstream_it_reads() -> None:
    root = readings(values_of())
    weekly, whole = made_from(root, "weekly", partitions_def=WEEKLY), made_from(root, "whole", partitions_def=None)
    reads = {n.table: n.upstream for n in lake_nodes(specs(root, summed(root, -2), weekly, whole))}
    assert reads["readings"] == {}
    assert reads["summed"]["readings"](DAYS[5]) == DAYS[3:6]
    assert reads["weekly"]["readings"](WEEKS[1]) == DAYS[7:]
    assert reads["whole"]["readings"](WHOLE) == DAYS


def test_a_node_has_its_partitions_and_an_undated_table_one_nameless_one() -> None:
    root = readings(values_of())
    nodes = lake_nodes(specs(root, made_from(root, "whole", partitions_def=None)))
    assert [list(node.partitions) for node in nodes] == [DAYS, [WHOLE]]


def test_a_node_has_the_layer_and_code_version_of_its_asset() -> None:
    root = readings(values_of())
    nodes = lake_nodes(specs(root, made_from(root, "model", layer="model")))
    assert [(node.layer, node.code_version) for node in nodes] == [("dataset", "1"), ("model", "1")]


def test_assets_that_are_no_lake_tables_are_left_out() -> None:
    root = readings(values_of())

    @dg.asset(deps=[root])
    def report() -> None: ...

    copy = made_from(root, "copy")
    assert [n.table for n in lake_nodes(specs(report, copy, root))] == ["readings", "copy"]
