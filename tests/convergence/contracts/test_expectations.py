"""The same rows judged by Pandera, as the lake does it, and by the real Great Expectations."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import pandera.polars as pa
import polars as pl
import pytest

from convergence.contracts.expectations import PYTHON, Found, judged, run, suite, write_suites
from convergence.contracts.rules import rules_of
from convergence.errors import ServiceError, SettingsError
from convergence.lake.contracts import StrictColumns
from tests.convergence.contracts.promises import Payment, Rate


class EveryRule(pa.DataFrameModel):
    """A column for each kind of rule; nullable where null is not what is tried."""

    key: int = pa.Field(unique=True)
    at: Annotated[pl.Datetime, "us", "UTC"]
    at_least: int = pa.Field(ge=0, nullable=True)
    above: float = pa.Field(gt=0, nullable=True)
    at_most: float = pa.Field(le=1.5)
    below: pl.Float32 = pa.Field(lt=1, nullable=True)
    between: int = pa.Field(in_range={"min_value": 0, "max_value": 5, "include_max": False}, nullable=True)
    one: int = pa.Field(eq=1, nullable=True)
    not_one: int = pa.Field(ne=1, nullable=True)
    among: str = pa.Field(isin=["a", "b"], nullable=True)
    not_among: str = pa.Field(notin=["x"], nullable=True)
    matches: str = pa.Field(str_matches="ab+|c", nullable=True)
    contains: str = pa.Field(str_contains="b", nullable=True)
    starts: str = pa.Field(str_startswith="a.", nullable=True)
    ends: str = pa.Field(str_endswith=".a", nullable=True)
    long: str = pa.Field(str_length=3, nullable=True)
    short: str = pa.Field(str_length={"max_value": 2}, nullable=True)
    flag: bool = pa.Field(nullable=True)
    left: int = pa.Field(nullable=True)
    right: str = pa.Field(nullable=True)

    class Config(StrictColumns):
        unique = ["left", "right"]


ROWS = 6
GOOD = pl.DataFrame(
    {
        "key": range(ROWS), "at": [datetime(2024, 1, 1, tzinfo=UTC)] * ROWS, "at_least": [0, 1, 2, None, 4, 5],
        "above": [0.1, 1.0, 2.0, None, 1e9, 3.0], "at_most": [1.5, 0.0, -1.0, -2.0, 1.0, 0.5],
        "below": [0.9, 0.0, None, -1.0, 0.5, 0.1], "between": [0, 4, None, 2, 3, 1], "one": [1, 1, None, 1, 1, 1],
        "not_one": [0, 2, None, 3, 4, 5], "among": ["a", "b", None, "a", "b", "a"],
        "not_among": ["a", "b", None, "a", "b", "a"], "matches": ["ab", "abbb", "c", "cab", None, "abx"],
        "contains": ["b", "abc", None, "b", "b", "b"], "starts": ["a.", "a.b", None, "a.", "a.", "a.c"],
        "ends": [".a", "b.a", None, ".a", ".a", "c.a"], "long": ["abc", "äöü", None, "abc", "abc", "abc"],
        "short": ["", "a", "ab", None, "é", "üü"], "flag": [True, False, None, True, True, False],
        "left": [1, 1, 2, 2, 3, None], "right": ["a", "b", "a", "b", "a", "a"],
    },
    schema_overrides={"below": pl.Float32},
)  # fmt: skip


def cells(column: str, *values: Any) -> pl.DataFrame:
    """The good rows with other values in the first cells of a column."""
    held = GOOD[column].to_list()
    return GOOD.with_columns(pl.Series(column, [*values, *held[len(values) :]], GOOD.schema[column]))


# What is wrong, and the rule with its offending rows (None: of a column or table as a whole).
BAD: dict[str, tuple[pl.DataFrame, Found]] = {
    "nothing": (GOOD, {}),
    "null": (cells("at_most", None, None), {"at_most: not_nullable": 2}),
    "null-time": (cells("at", None), {"at: not_nullable": 1}),
    "repeated": (cells("key", 1), {"key: field_uniqueness": 2}),
    "at-least": (cells("at_least", -1, -5), {"at_least: greater_than_or_equal_to(0)": 2}),
    "above": (cells("above", 0.0), {"above: greater_than(0)": 1}),
    "at-most": (cells("at_most", 1.6, 99.0, 1.51), {"at_most: less_than_or_equal_to(1.5)": 3}),
    "below": (cells("below", 1.0), {"below: less_than(1)": 1}),
    "between": (cells("between", 5, -1), {"between: in_range(0, 5)": 2}),
    "equal": (cells("one", 2), {"one: equal_to(1)": 1}),
    "unequal": (cells("not_one", 1), {"not_one: not_equal_to(1)": 1}),
    "among": (cells("among", "c", "A"), {"among: isin(['a', 'b'])": 2}),
    "not-among": (cells("not_among", "x"), {"not_among: notin(['x'])": 1}),
    "regex": (cells("matches", "xab", "b"), {"matches: str_matches('ab+|c')": 2}),
    "contains": (cells("contains", "", "a"), {"contains: str_contains('b')": 2}),
    "starts": (cells("starts", "ab", "b"), {"starts: str_startswith('a.')": 2}),
    "ends": (cells("ends", "ba", ".a\n"), {"ends: str_endswith('.a')": 2}),
    "length": (cells("long", "ab", "abcd"), {"long: str_length(3)": 2}),
    "longest": (cells("short", "äöü"), {"short: str_length(None, 2)": 1}),
    "together": (cells("right", "b"), {"frame: multiple_fields_uniqueness": 2}),
    "smaller-type": (GOOD.cast({"key": pl.Int32}), {"key: dtype('Int64')": None}),
    "naive-time": (
        GOOD.with_columns(pl.col("at").dt.replace_time_zone(None)),
        {"at: dtype('Datetime(time_unit='us', time_zone='UTC')')": None},
    ),
    "text-for-number": (
        GOOD.cast({"at_least": pl.String}),
        {"at_least: dtype('Int64')": None, "at_least: greater_than_or_equal_to(0)": ROWS},
    ),
    "missing": (GOOD.drop("flag"), {"flag: column_in_dataframe": None}),
    "extra": (
        GOOD.with_columns(card=pl.lit(1), pin=pl.lit(2)),
        {"card: column_in_schema": None, "pin: column_in_schema": None},
    ),
    "two-at-once": (
        cells("among", "c").with_columns(key=pl.lit(7, pl.Int64)),
        {"among: isin(['a', 'b'])": 1, "key: field_uniqueness": ROWS},
    ),
}
# NaN is the one value that they see differently: for Polars it is the greatest number, for pandas hardly a value.
NAN: dict[str, tuple[pl.DataFrame, Found, Found]] = {
    "where-none-may-be-missing": (
        cells("at_most", float("nan"), 2.0),
        {"at_most: not_nullable": 1, "at_most: less_than_or_equal_to(1.5)": 2},
        {"at_most: not_nullable": 1, "at_most: less_than_or_equal_to(1.5)": 1},
    ),
    "above-a-limit": (cells("above", float("nan")), {}, {"above: greater_than(0)": 1}),
    "below-a-limit": (cells("below", float("nan")), {"below: less_than(1)": 1}, {"below: less_than(1)": 1}),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Found]:
    """What Great Expectations says of every case; one process, for it takes seconds to start."""
    frames = {case: frame for case, (frame, *_) in [*BAD.items(), *NAN.items()]}
    return dict(zip(frames, run(EveryRule, list(frames.values())), strict=True))


@pytest.mark.parametrize("case", BAD)
def test_both_engines_find_the_same_rules_broken_by_as_many_rows(found: dict[str, Found], case: str):
    frame, expected = BAD[case]

    assert judged(EveryRule, frame) == expected
    assert found[case] == expected


@pytest.mark.parametrize("case", NAN)
def test_of_a_value_that_is_no_number_the_engines_think_as_documented(found: dict[str, Found], case: str):
    frame, here, there = NAN[case]

    assert judged(EveryRule, frame) == here
    assert found[case] == there


def test_every_rule_of_a_contract_is_an_expectation_or_listed_as_none():
    for contract in (EveryRule, Payment, Rate):
        made = suite("shop/x", contract)
        translated = [expectation["meta"]["rule"] for expectation in made["expectations"]]
        listed = [entry["rule"] for entry in made["meta"]["not_translated"]]

        assert sorted([*translated, *listed]) == sorted(rule.reason for rule in rules_of(contract))

    assert listed == ["day: dtype('Date')", "Rate: kinds_are_complete"]


def test_suites_are_written_by_the_library_one_file_for_a_table(tmp_path: Path):
    files = write_suites({"shop/payments": Payment, "shop/rates": Rate}, tmp_path / "suites")

    assert files == ["shop.payments.json", "shop.rates.json"]
    made = json.loads((tmp_path / "suites" / "shop.rates.json").read_text())
    assert made["name"] == "shop/rates"
    assert made["meta"]["great_expectations_version"].startswith("1.")
    assert {entry["rule"] for entry in made["meta"]["not_translated"]} == {
        "day: dtype('Date')", "Rate: kinds_are_complete",
    }  # fmt: skip
    (together,) = (e for e in made["expectations"] if e["type"] == "expect_compound_columns_to_be_unique")
    assert together["kwargs"]["column_list"] == ["day", "kind"]


def test_without_the_library_the_next_step_is_said(tmp_path: Path):
    with pytest.raises(SettingsError, match="make setup"):
        run(Rate, [pl.DataFrame()], python=tmp_path / "python")


def test_what_the_library_cannot_do_is_an_error_and_no_verdict(tmp_path: Path):
    (tmp_path / "great_expectations.py").write_text("")
    broken = tmp_path / "python"
    broken.write_text(f'#!/bin/sh\nexport PYTHONPATH={tmp_path}\nexec {PYTHON} "$@"\n')
    broken.chmod(0o755)
    day = pl.DataFrame({"day": [date(2024, 1, 1)], "kind": ["a"], "rate": [0.5]})

    with pytest.raises(ServiceError, match="Great Expectations could not run"):
        run(Rate, [day], python=broken)
