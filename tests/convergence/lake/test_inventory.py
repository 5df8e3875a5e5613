"""The tables of a lake, whatever generation they are in."""

import polars as pl

from convergence.lake.inventory import tables
from convergence.lake.manifests import MANIFESTS, Provenance, build_manifest, record
from convergence.lake.tables import WHOLE, Lake


def write(lake: Lake, table: str, value: int = 1) -> None:
    rows = {WHOLE: pl.DataFrame({"value": [value]})}
    lake.replace(table, rows, build_manifest(rows, "replace", Provenance("run", "1")), lake.open(table))
    record(lake, [table])


def test_an_empty_lake_has_no_tables(lake: Lake) -> None:
    assert tables(lake) == []


def test_every_table_is_found_and_the_manifests_last(lake: Lake) -> None:
    for name in ("shop/orders", "shop/orders_late", "weather/rain"):
        write(lake, name)
    assert tables(lake) == ["shop/orders", "shop/orders_late", "weather/rain", MANIFESTS]


def test_a_table_is_named_once_in_whichever_generations_it_is(lake: Lake) -> None:
    write(lake, "shop/orders")
    write(lake.at({"shop/orders": 2}), "shop/orders", 2)
    assert tables(lake) == ["shop/orders", MANIFESTS]


def test_a_table_that_is_only_being_made_anew_is_none_yet(lake: Lake) -> None:
    write(lake, "shop/orders")
    write(lake.at({"shop/returns": 2}), "shop/returns")
    assert tables(lake) == ["shop/orders", MANIFESTS]
