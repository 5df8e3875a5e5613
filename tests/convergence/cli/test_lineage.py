"""`convergence lineage` and `convergence impact` on the real graph."""

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from convergence.cli.lineage import impact, lineage
from convergence.versions.lineage import UnknownColumn


def said(command: click.Command, *arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_column_is_followed_to_the_topic_with_the_reasons_where_nothing_comes_before() -> None:
    lines = said(lineage, "fraud/labels.label_time").splitlines()
    assert lines == [
        "fraud/labels.label_time",
        "  fraud/raw_transactions.event_time",
        "    fraud/transactions_topic.TX_DATETIME",
    ]
    assert said(lineage, "fraud/drift.window_days").startswith("fraud/drift.window_days  (each day is judged")


def test_a_table_alone_is_all_of_its_columns() -> None:
    lines = said(lineage, "fraud/labels").splitlines()
    assert [line.split(".")[1] for line in lines if not line.startswith(" ")][:3] == [
        "event_date",
        "event_time",
        "label_time",
    ]


def test_impact_names_columns_by_layer_and_the_service_that_holds_them() -> None:
    text = said(impact, "fraud/transactions.amount")
    layers = text.split("\n\n")
    assert layers[0].startswith("fraud/transactions.amount: ")
    assert "customer_mean_30d" in next(layer for layer in layers if layer.startswith("feature\n"))
    assert "fraud/fraud_model: " in next(layer for layer in layers if layer.startswith("model\n"))
    assert "fraud/drift_report: page" in next(layer for layer in layers if layer.startswith("operations\n"))
    assert "POST /v1/fraud/score" in next(layer for layer in layers if layer.startswith("HTTP service fraud\n"))


def test_what_nothing_depends_on_is_said_so() -> None:
    text = said(impact, "fraud/transaction_features.customer_genuine_mean_30d")
    assert "0 columns of 0 tables" in text


def test_both_directions_agree_as_json() -> None:
    back: dict[str, Any] = json.loads(said(lineage, "fraud/fraud_scores.score", "--json"))
    forth = json.loads(said(impact, "fraud/raw_transactions.is_fraud", "--json"))
    assert "fraud/raw_transactions.is_fraud" in back
    assert "fraud/fraud_scores.score" in forth["columns"]
    assert "fraud/fraud_model.onnx" in forth["services"]["HTTP service fraud"]


@pytest.mark.parametrize("command", [lineage, impact], ids=["lineage", "impact"])
def test_a_name_that_is_not_there_is_refused_with_what_comes_near(command: click.Command) -> None:
    with pytest.raises(UnknownColumn, match="Did you mean amount"):
        said(command, "fraud/transactions.amounts")
