import dagster as dg

from convergence_assets.definitions import declared, defs
from resources.consumers import Readers

READERS = Readers(defs.resolve_all_asset_specs(), declared("SERVED"))
UP, DOWN, OTHER = dg.AssetKey(["uc", "up"]), dg.AssetKey(["uc", "down"]), dg.AssetKey(["uc", "other"])


def lineage(**columns: str) -> dict[str, dg.TableColumnLineage]:
    """Metadata of an asset: columns of its own, each from one of `uc/up`."""
    deps = {mine: [dg.TableColumnDep(UP, theirs)] for mine, theirs in columns.items()}
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)}


def test_assets_downstream_and_the_http_api_read_a_table():
    found = READERS("fraud/raw_transactions")

    assert {"fraud/labels", "fraud/transactions", "the HTTP API of fraud"} <= set(found)


def test_the_http_api_reads_the_columns_of_the_features_that_its_model_takes():
    api = "the HTTP API of fraud"

    assert api in READERS("fraud/transaction_features", "terminal_fraud_rate_7d")
    assert api not in READERS("fraud/transaction_features", "terminal_id")
    assert api in READERS("fraud/fraud_promotions", "onnx")
    assert api not in READERS("fraud/fraud_promotions", "challenger_version")


def test_where_column_lineage_is_known_only_who_reads_the_column_is_named():
    specs = [
        dg.AssetSpec(UP),
        dg.AssetSpec(DOWN, deps=[UP], metadata=lineage(total="amount")),
        dg.AssetSpec(OTHER, deps=[UP], metadata=lineage(who="id"), kinds={"dbt"}),
    ]

    assert Readers(specs)("uc/up", "amount") == ["uc/down"]
    assert Readers(specs)("uc/up", "id") == ["dbt model uc/other"]
    assert Readers(specs)("uc/up") == ["uc/down", "dbt model uc/other"]
