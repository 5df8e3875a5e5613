import dagster as dg

from convergence_assets import declared
from convergence_assets.definitions import defs
from resources.consumers import Readers

READERS = Readers(defs.resolve_all_asset_specs(), declared(lambda one: one.served))
UP, DOWN, OTHER = dg.AssetKey(["uc", "up"]), dg.AssetKey(["uc", "down"]), dg.AssetKey(["uc", "other"])


def columns(*names: str) -> dict[str, dg.TableSchema]:
    """Metadata of an asset with these columns."""
    return {"dagster/column_schema": dg.TableSchema([dg.TableColumn(name) for name in names])}


def lineage(**columns: str) -> dict[str, dg.TableColumnLineage]:
    """Metadata of an asset: columns of its own, each from one of `uc/up`."""
    deps = {mine: [dg.TableColumnDep(UP, theirs)] for mine, theirs in columns.items()}
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)}


API = "HTTP service fraud"


def test_assets_directly_downstream_read_a_table_and_services_hold_columns_of_it():
    assert {"fraud/labels", "fraud/transactions"} <= set(READERS("fraud/raw_transactions"))
    assert API not in READERS("fraud/raw_transactions")
    assert API in READERS("fraud/transaction_features")


def test_a_column_is_read_by_the_service_that_holds_what_is_made_from_it():
    assert API in READERS("fraud/transaction_features", "terminal_fraud_rate_7d")
    assert API in READERS("fraud/transactions", "amount")
    assert API not in READERS("fraud/fraud_promotions", "challenger_version")


def test_of_a_column_that_is_gone_whatever_reads_the_table_counts():
    found = READERS("fraud/raw_transactions", "gone")

    assert {"fraud/labels", "fraud/transactions", API} <= set(found)


def test_where_column_lineage_is_known_only_who_reads_the_column_is_named():
    specs = [
        dg.AssetSpec(UP, metadata=columns("amount", "id", "note")),
        dg.AssetSpec(DOWN, deps=[UP], metadata=lineage(total="amount")),
        dg.AssetSpec(OTHER, deps=[UP], metadata=lineage(who="id"), kinds={"dbt"}),
    ]

    assert Readers(specs)("uc/up", "amount") == ["uc/down"]
    assert Readers(specs)("uc/up", "id") == ["dbt model uc/other"]
    assert Readers(specs)("uc/up", "note") == []
    assert Readers(specs)("uc/up") == ["uc/down", "dbt model uc/other"]
