from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.contracts.changes import Change, changes, explained, unannounced
from convergence.contracts.standard import document
from tests.convergence.contracts.promises import PAYMENTS, RATES

MADE = document("shop", [PAYMENTS, RATES])


def edited(table: str, column: str | None, **fields: Any) -> dict[str, Any]:
    """The contract with fields of a table or column set; None removes one."""
    made = deepcopy(MADE)
    (element,) = (t for t in made["schema"] if t["name"] == table)
    if column:
        (element,) = (c for c in element["properties"] if c["name"] == column)
    for name, value in fields.items():
        element.pop(name, None)
        if value is not None:
            element[name] = value
    return made


def without(column: str, made: dict[str, Any] = MADE) -> dict[str, Any]:
    made = deepcopy(made)
    made["schema"][0]["properties"] = [c for c in made["schema"][0]["properties"] if c["name"] != column]
    return made


def at(version: str, made: dict[str, Any], status: str = "active") -> dict[str, Any]:
    return {**made, "version": version, "status": status}


def test_a_contract_differs_in_nothing_from_itself():
    assert changes(MADE, deepcopy(MADE)) == []


@pytest.mark.parametrize(
    ("new", "where", "breaking"),
    [
        (without("amount"), "shop/payments.amount", True),
        (edited("payments", "amount", physicalType="Int64"), "shop/payments.amount", True),
        (edited("payments", "amount", required=False), "shop/payments.amount", True),
        (edited("payments", "kind", required=True), "shop/payments.kind", False),
        (edited("payments", "id", unique=None), "shop/payments.id", True),
        (edited("payments", "code", unique=True), "shop/payments.code", False),
        (edited("payments", "amount", logicalTypeOptions={"exclusiveMinimum": 0}), "shop/payments.amount", True),
        (edited("payments", "amount", logicalTypeOptions={"minimum": 0, "maximum": 100}), "shop/payments.amount", True),
        (edited("payments", "amount", logicalTypeOptions={"minimum": 1, "maximum": 99}), "shop/payments.amount", False),
        (edited("payments", "customer", logicalTypeOptions={"pattern": ".*"}), "shop/payments.customer", True),
        (edited("payments", "kind", quality=None), "shop/payments.kind", True),
        (edited("payments", "amount", description="Spent"), "shop/payments.amount", False),
        (edited("payments", "amount", customProperties=[{"property": "unit", "value": "USD"}]),
         "shop/payments.amount", True),
        (edited("rates", None, quality=None), "shop/rates", True),
        ({**MADE, "schema": MADE["schema"][:1]}, "shop/rates", True),
        ({**MADE, "schema": [*MADE["schema"], {**MADE["schema"][1], "name": "n", "physicalName": "shop/n"}]},
         "shop/n", False),
        ({**MADE, "slaProperties": MADE["slaProperties"][:1]}, "payments", True),
    ],
    ids=[
        *("removed", "retyped", "nullable", "required", "repeated", "unique", "unbounded", "inclusive", "narrower"),
        *("pattern", "any-value", "reworded", "unit", "rule-gone", "table-gone", "table-new", "service"),
    ],
)  # fmt: skip
def test_what_takes_a_promise_away_breaks_its_readers(new: dict[str, Any], where: str, breaking: bool):
    found = changes(MADE, new)

    assert found
    assert {change.where for change in found} == {where}
    assert any(change.breaking for change in found) == breaking


def test_a_new_column_breaks_nobody_but_those_who_send_messages():
    fewer = without("amount")
    raw = deepcopy(fewer), deepcopy(MADE)
    for made in raw:
        made["schema"][0]["tags"] = ["raw"]

    assert [change.breaking for change in changes(fewer, MADE)] == [False]
    assert [change.breaking for change in changes(*raw)] == [True]


def test_a_tighter_rule_of_a_raw_table_breaks_those_who_send_messages():
    old, new = deepcopy(MADE), edited("payments", "amount", logicalTypeOptions={"minimum": 1, "maximum": 100})
    old["schema"][0]["tags"] = new["schema"][0]["tags"] = ["raw"]

    assert [change.breaking for change in changes(old, new)] == [True]


BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        **{word: st.integers(0, 4) for word in ("minimum", "exclusiveMinimum")},
        **{word: st.integers(0, 4) for word in ("maximum", "exclusiveMaximum")},
    },
)
PROBES = [n / 2 for n in range(-2, 12)]


def lets_pass(options: dict[str, int], value: float) -> bool:
    return (
        value >= options.get("minimum", -99) and value > options.get("exclusiveMinimum", -99)
        and value <= options.get("maximum", 99) and value < options.get("exclusiveMaximum", 99)
    )  # fmt: skip


@given(BOUNDS, BOUNDS)
def test_a_range_breaks_readers_exactly_when_a_value_may_come_that_could_not(old: dict, new: dict):
    def passed(options: dict[str, int]) -> set[float]:
        ends = {end: {k: v for k, v in options.items() if k.lower().endswith(end)} for end in ("minimum", "maximum")}
        return {(end, v) for end, bounds in ends.items() for v in PROBES if lets_pass(bounds, v)}

    found = changes(
        edited("payments", "amount", logicalTypeOptions=old or None),
        edited("payments", "amount", logicalTypeOptions=new or None),
    )

    assert any(change.breaking for change in found) == bool(passed(new) - passed(old))
    assert bool(found) == (passed(new) != passed(old))


@given(st.sets(st.integers(0, 4), min_size=1), st.sets(st.integers(0, 4), min_size=1))
def test_a_set_of_values_breaks_readers_exactly_when_a_new_one_may_come(old: set[int], new: set[int]):
    def quality(values: set[int]) -> list[dict]:
        return [{"metric": "invalidValues", "arguments": {"validValues": sorted(values)}, "mustBe": 0}]

    found = changes(edited("payments", "kind", quality=quality(old)), edited("payments", "kind", quality=quality(new)))

    assert any(change.breaking for change in found) == bool(new - old)


def test_a_column_goes_with_a_new_major_version_after_it_was_deprecated_and_not_before():
    def refused(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
        return [change.where for change in unannounced(old, new)]

    assert refused(at("1.4.0", MADE), at("1.5.0", without("old"))) == ["shop/payments.old"]
    assert refused(at("1.4.0", MADE), at("2.0.0", without("amount"))) == ["shop/payments.amount"]
    assert refused(at("1.4.0", MADE), at("2.0.0", without("old"))) == []
    assert refused(at("1.4.0", MADE, "draft"), at("1.4.0", without("amount"))) == []


def test_a_looser_rule_needs_a_new_major_version_alone():
    looser = edited("payments", "amount", required=False)

    assert len(unannounced(at("1.0.0", MADE), at("1.9.0", looser))) == 1
    assert unannounced(at("1.0.0", MADE), at("2.0.0", looser)) == []


def test_a_breaking_change_names_who_reads_the_column_and_a_compatible_one_nobody():
    def readers(table: str, column: str | None) -> list[str]:
        return [f"reader of {table}.{column}"]

    breaking, compatible = Change("shop/payments", "id", "removed", True, True), Change("shop/payments", "id", "added")

    assert explained(breaking, readers).endswith("read by reader of shop/payments.id")
    assert "reader" not in explained(compatible, readers)
