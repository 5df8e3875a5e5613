"""Every column of every table says what it is made from."""

import dagster as dg
import pytest

from convergence.versions.lineage import Column
from convergence_assets.definitions import defs
from resources.keys import table_of
from resources.lineage import column_graph, said

SPECS = {table_of(spec.key): spec for spec in defs.resolve_all_asset_specs()}
GRAPH = column_graph(SPECS.values())
TABLES = sorted(table for table, spec in SPECS.items() if spec.tags.get("layer") != "topic")


@pytest.mark.parametrize("table", TABLES)
def test_every_column_has_sources_or_the_reason_why_it_has_none(table: str) -> None:
    schema = said(SPECS[table], "dagster/column_schema")
    lost = [
        c.name for c in schema.columns if not GRAPH.sources.get(Column(table, c.name)) and not c.tags.get("made_here")
    ]
    assert lost == []


@pytest.mark.parametrize("table", TABLES)
def test_sources_are_columns_that_there_are_of_tables_that_it_is_made_from(table: str) -> None:
    upstream = {table_of(dep.asset_key) for dep in SPECS[table].deps}
    named = {source for name in GRAPH.tables[table] for source in GRAPH.sources.get(Column(table, name), ())}
    assert [str(s) for s in named if s.table not in upstream or s.name not in GRAPH.tables.get(s.table, ())] == []


@pytest.mark.parametrize("table", TABLES)
def test_no_two_things_are_said_of_a_column(table: str) -> None:
    lineage = said(SPECS[table], "dagster/column_lineage")
    assert isinstance(lineage, dg.TableColumnLineage)
    assert list(lineage.deps_by_column) == list(GRAPH.tables[table])


def test_a_score_goes_back_to_what_the_topic_brings() -> None:
    found = {str(column) for column in GRAPH.before(GRAPH.named("fraud/fraud_scores.score"))}
    assert {
        "fraud/fraud_model.onnx",
        "fraud/fraud_parameters.parameters",
        "fraud/transaction_features.terminal_fraud_rate_7d",
        "fraud/labels.label_time",
        "fraud/transactions_topic.TX_AMOUNT",
        "fraud/transactions_topic.TX_FRAUD",
    } <= found
    assert "fraud/transactions_topic.TX_FRAUD_SCENARIO" not in found


def test_a_churn_score_goes_back_through_dbt_to_what_the_topic_brings_but_not_to_gender() -> None:
    found = {str(column) for column in GRAPH.before(GRAPH.named("churn/churn_scores.score"))}
    assert {
        "churn/mart_accounts.total_charges",
        "churn/stg_customers.total_charges",
        "churn/customers.TotalCharges",
        "churn/customers_topic.TotalCharges",
        "churn/customers_topic.Churn",
    } <= found
    assert "churn/customers_topic.gender" not in found


def test_a_feature_that_no_model_takes_reaches_none() -> None:
    assert GRAPH.after(GRAPH.named("fraud/transaction_features.customer_genuine_mean_30d")) == []


def test_lineage_goes_through_the_sql_of_dbt_and_back() -> None:
    after = {str(column) for column in GRAPH.after(GRAPH.named("churn/customers.TotalCharges"))}
    assert {
        "churn/stg_customers.total_charges",
        "churn/mart_accounts.mean_monthly_charges",
        "churn/mart_accounts.charge_change",
        "churn/accounts.charge_change",
        "churn/churn_model.onnx",
        "churn/churn_scores.score",
    } <= after
    assert not {"churn/mart_accounts.tenure_months", "churn/accounts.monthly_charges"} & after
    before = {str(column) for column in GRAPH.before(GRAPH.named("churn/churn_scores.score"))}
    assert {"churn/customers_topic.TotalCharges", "churn/raw_customers.Churn"} <= before
