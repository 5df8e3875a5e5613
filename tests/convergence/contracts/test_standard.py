from pathlib import Path
from typing import Any

import pytest
import yaml

from convergence.contracts.standard import LARGEST, ContractFileInvalid, custom, document, dump, load, parse
from tests.convergence.contracts.promises import PAYMENTS, RATES

MADE = document("shop", [RATES, PAYMENTS])

# The words of the Open Data Contract Standard 3.1 for each kind of element, as its reference lists them.
CONTRACT = {
    *("apiVersion", "kind", "id", "name", "version", "status", "domain", "description", "servers", "team", "schema"),
    *("slaProperties", "customProperties", "tags", "tenant", "support", "price", "roles"),
}
OBJECT = {
    *("name", "physicalName", "physicalType", "logicalType", "description", "tags", "customProperties", "properties"),
    *("quality", "businessName", "dataGranularityDescription", "relationships"),
}
PROPERTY = {
    *("name", "logicalType", "physicalType", "description", "required", "unique", "primaryKey", "primaryKeyPosition"),
    *("partitioned", "partitionKeyPosition", "classification", "items", "logicalTypeOptions", "quality"),
    *("customProperties", "tags", "businessName", "examples", "criticalDataElement", "encryptedName"),
}
LOGICAL = {"string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean"}


def column(name: str) -> dict[str, Any]:
    (payments,) = (table for table in MADE["schema"] if table["name"] == "payments")
    (found,) = (c for c in payments["properties"] if c["name"] == name)
    return found


def test_a_contract_that_is_written_and_read_is_the_same():
    assert parse(dump(MADE).encode(), "shop.yaml") == MADE


@pytest.mark.parametrize(
    "made", [MADE, *(load(p) for p in sorted(Path("contracts").glob("*.yaml")))], ids=lambda m: m["name"]
)
def test_every_field_is_a_word_of_the_standard(made: dict[str, Any]):
    tables = made["schema"]
    columns = [c for table in tables for c in table["properties"]]

    assert set(made) <= CONTRACT
    assert {"version", "apiVersion", "kind", "id", "status"} <= set(made)
    assert {word for table in tables for word in table} <= OBJECT
    assert {word for c in columns for word in c} <= PROPERTY
    assert {c["logicalType"] for c in columns} <= LOGICAL
    assert {word for s in made.get("slaProperties", ()) for word in s} <= {"property", "value", "unit", "element"}
    properties = [p for e in (*tables, *columns) for p in e.get("customProperties", ())]
    assert all(set(p) == {"property", "value"} for p in properties)


def test_rules_become_the_standards_own_options_where_it_has_them():
    assert column("id")["logicalTypeOptions"] == {"minimum": 0}
    assert column("amount")["logicalTypeOptions"] == {"exclusiveMinimum": 0, "maximum": 100}
    assert column("customer")["logicalTypeOptions"] == {"pattern": "^(?:c[0-9]+)"}
    assert column("code")["logicalTypeOptions"] == {"minLength": 3, "maxLength": 3}
    assert column("photo")["logicalTypeOptions"] == {"format": "binary"}
    (values,) = column("kind")["quality"]
    assert (values["metric"], values["arguments"], values["mustBe"]) == (
        "invalidValues", {"validValues": ["cash", "card"]}, 0,
    )  # fmt: skip
    assert [column(name)["required"] for name in ("id", "kind")] == [True, False]
    assert [column(name).get("unique") for name in ("id", "code")] == [True, None]


def test_a_rule_that_the_standard_has_no_word_for_is_said_as_pandera_names_it():
    rates = MADE["schema"][1]

    assert rates["properties"][2]["logicalTypeOptions"] == {"minimum": 0, "exclusiveMaximum": 1}
    assert [c.get("primaryKeyPosition") for c in rates["properties"]] == [1, 2, None]
    assert rates["quality"] == [
        {"metric": "duplicateValues", "arguments": {"properties": ["day", "kind"]}, "mustBe": 0, "unit": "rows"},
        {"type": "custom", "engine": "pandera", "implementation": "kinds_are_complete"},
    ]


def test_owner_consumers_service_levels_and_personal_data_are_said():
    payments = MADE["schema"][0]

    assert custom(payments, "owner") == "team:shop"
    assert custom(payments, "consumers") == ["shop/sums"]
    assert MADE["slaProperties"] == [
        {"property": "frequency", "value": 1, "unit": "d", "element": "payments"},
        {"property": "latency", "value": 25.0, "unit": "h", "element": "payments"},
    ]
    assert column("customer")["classification"] == "confidential"
    assert custom(column("customer"), "subject") == "customer"
    assert custom(column("old"), "deprecated") == {"since": "1.1.0", "until": "2.0.0", "use": "id"}


LAUGHS = "a: &a [x]\nb: &b [*a, *a]\n" + "".join(f"c{n}: &c{n} [*b, *b]\n" for n in range(9))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("!!python/object/apply:os.system ['touch bitten']", "not YAML that is safe to read"),
        ("kind: !!python/name:os.system", "not YAML that is safe to read"),
        (LAUGHS, "aliases"),
        ("[" * 100_000, "nested more than"),
        ("#" * (LARGEST + 1), "bytes"),
        ("kind: [", "not YAML that is safe to read"),
        ("\xff\xfe", "kind is not DataContract"),
        ("- kind: DataContract", "kind is not DataContract"),
        (yaml.safe_dump({**MADE, "apiVersion": "v2.2.2"}), "apiVersion"),
        (yaml.safe_dump({**MADE, "version": 1.0}), "version is 1.0"),
        (yaml.safe_dump({**MADE, "version": "new"}), "version"),
        (yaml.safe_dump({**MADE, "schema": [{"name": "x", "properties": "y"}]}), "schema"),
        (yaml.safe_dump({k: v for k, v in MADE.items() if k != "status"}), "status"),
    ],
    ids=[
        "object",
        "name",
        "laughs",
        "deep",
        "long",
        "torn",
        "bytes",
        "list",
        "api",
        "number",
        "word",
        "schema",
        "status",
    ],
)
def test_a_file_that_is_unsafe_or_no_contract_is_refused_with_the_reason(tmp_path, monkeypatch, text: str, says: str):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "shop.yaml"
    file.write_text(text)

    with pytest.raises(ContractFileInvalid, match=says):
        load(file)

    assert not (tmp_path / "bitten").exists()
