from datetime import date, timedelta
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.errors import ContractBroken
from convergence.lake.contracts import REJECTED, ROW_BY_ROW, Contract, Judged, StrictColumns, judge, schema_of
from convergence.lake.tables import DAY, WHOLE
from tests.convergence.lake.frames import FIRST, day

DAYS = [day(0), day(1), day(2)]


class Payments(pa.DataFrameModel):
    event_date: date
    id: int = pa.Field(unique=True)
    amount: float = pa.Field(ge=0)
    kind: str = pa.Field(isin=["cash", "card"], nullable=True)

    class Config:
        strict = True


class AtLeastTwo(Payments):
    @pa.dataframe_check
    def at_least_two_rows(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.len() >= 2)


class SmallMean(Payments):
    @pa.check("amount")
    def mean_below_fifty(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col(data.key).mean() < 50)


class BothKinds(Payments):
    kind: str = pa.Field(unique_values_eq=["cash", "card"])


LOOKS: list[pa.PolarsData] = []


class CardsPay(Payments):
    @pa.dataframe_check(title=ROW_BY_ROW)
    @classmethod
    def cards_pay(cls, data: pa.PolarsData) -> pl.LazyFrame:
        LOOKS.append(data)
        return data.lazyframe.select((pl.col("kind") != "card").fill_null(True) | (pl.col("amount") > 0))


class Customers(pa.DataFrameModel):
    id: int = pa.Field(ge=0)
    photo: bytes = pa.Field(nullable=True)


def payments(*rows: tuple[int, Any, Any, Any]) -> pl.DataFrame:
    """Rows of (day number, id, amount, kind)."""
    schema = {DAY: pl.Date, "id": pl.Int64, "amount": pl.Float64, "kind": pl.String}
    return pl.DataFrame([(FIRST + timedelta(days=d), *rest) for d, *rest in rows], schema, orient="row")


GOOD = payments((0, 1, 1.0, "cash"), (0, 2, 0.0, None), (1, 3, 7.5, "card"), (2, 4, 4.0, "cash"))


def with_cell(column: str, value: Any, where: int = 3) -> pl.DataFrame:
    return GOOD.with_columns(pl.when(pl.col("id") == where).then(pl.lit(value)).otherwise(column).alias(column))


def verdict(judged: Judged) -> tuple[dict[str, int], dict[str, list[Any]]]:
    return {k: f.height for k, f in judged.good.items()}, {k: f["reason"].to_list() for k, f in judged.bad.items()}


def test_a_range_without_a_bad_row_passes_unchanged():
    judged = judge(Payments, GOOD, DAYS)

    assert not judged.bad
    assert_frame_equal(pl.concat(judged.good.values()), GOOD)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("amount", -98_765.0, "amount: greater_than_or_equal_to(0)"),
        ("amount", None, "amount: not_nullable"),
        ("amount", float("nan"), "amount: not_nullable"),
        ("id", None, "id: not_nullable"),
        ("kind", "Mallory", "kind: isin(['cash', 'card'])"),
    ],
)
def test_a_bad_row_fails_its_day_alone_and_names_the_rule_without_the_value(column: str, value: Any, rule: str):
    frame = with_cell(column, value)

    judged = judge(Payments, frame, DAYS)

    assert verdict(judged) == ({day(0): 2, day(2): 1}, {day(1): [rule]})
    assert_frame_equal(judged.good[day(0)], frame[:2])


def test_a_check_of_a_frame_that_looks_at_each_row_alone_is_asked_once_where_a_range_keeps_it():
    LOOKS.clear()
    assert not judge(CardsPay, GOOD, DAYS).bad
    assert len(LOOKS) == 1
    _, bad = verdict(judge(CardsPay, with_cell("amount", 0.0), DAYS))
    assert bad == {day(1): ["CardsPay: cards_pay"]}


class Declared(pa.DataFrameModel):
    id: int

    class Config(StrictColumns):
        """As every contract of ours says it."""


class MoreDeclared(Declared):
    amount: float


@pytest.mark.parametrize("contract", [Declared, MoreDeclared])
def test_a_column_that_is_not_declared_breaks_a_contract_of_strict_columns(contract: Contract):
    frame = pl.DataFrame({"id": [1, 2], "amount": [1.0, 2.0], "card_number": ["4", "5"]}).select(
        *schema_of(contract).names(), "card_number"
    )

    bad = judge(contract, frame, [WHOLE]).bad[WHOLE]

    assert bad["reason"].to_list() == ["card_number: column_in_schema"] * 2


def test_offending_rows_are_kept_whole_and_good_rows_of_a_bad_day_are_not_called_offending():
    frame = pl.concat([with_cell("amount", -1.0), payments((1, 9, 5.0, "card"))])

    bad = judge(Payments, frame, DAYS).bad[day(1)]

    assert bad.schema == REJECTED
    row = '{"event_date":"2024-01-02","id":3,"amount":-1.0,"kind":"card"}'
    assert bad.rows() == [(date(2024, 1, 2), "amount: greater_than_or_equal_to(0)", row)]


def test_a_row_that_breaks_two_rules_is_listed_once_with_both():
    frame = with_cell("amount", -1.0).with_columns(kind=pl.lit("Mallory"))

    (reason,) = judge(Payments, frame, DAYS).bad[day(1)]["reason"]

    assert reason == "amount: greater_than_or_equal_to(0); kind: isin(['cash', 'card'])"


@pytest.mark.parametrize(
    ("frame", "rule"),
    [
        (GOOD.drop("kind"), "kind: column_in_dataframe"),
        (GOOD.with_columns(surplus=1), "surplus: column_in_schema"),
        (GOOD.with_columns(pl.col("id").cast(pl.String)), "id: dtype('Int64')"),
        (GOOD.with_columns(pl.col("id").cast(pl.Int32)), "id: dtype('Int64')"),
    ],
)
def test_wrong_columns_fail_every_row_and_name_the_column(frame: pl.DataFrame, rule: str):
    _, bad = verdict(judge(Payments, frame, DAYS))

    assert bad == {day(0): [rule, rule], day(1): [rule], day(2): [rule]}


def test_a_day_without_rows_that_breaks_its_contract_still_says_why():
    bad = judge(Payments, GOOD.drop("kind").head(0), DAYS[:1]).bad

    assert bad[day(0)].rows() == [(FIRST, "kind: column_in_dataframe", None)]
    assert bad[day(0)].schema == REJECTED


def test_a_unique_value_may_come_again_on_another_day_but_not_on_its_own():
    again = payments((0, 1, 1.0, None), (0, 2, 1.0, None), (1, 1, 1.0, None), (2, 5, 1.0, None), (2, 5, 2.0, None))

    good, bad = verdict(judge(Payments, again, DAYS))

    assert (good, bad) == ({day(0): 2, day(1): 1}, {day(2): ["id: field_uniqueness"] * 2})


def test_rows_outside_the_partitions_of_the_run_are_refused():
    with pytest.raises(ContractBroken, match=r"1 of 4 rows belong to 2024-01-03, outside 2024-01-01 to 2024-01-02"):
        judge(Payments, GOOD, DAYS[:2])


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (GOOD.drop(DAY), "found none"),
        (GOOD.with_columns(pl.col(DAY).cast(pl.String)), "found String"),
        (GOOD.with_columns(pl.col(DAY).cast(pl.Datetime)), "found Datetime"),
        (GOOD.with_columns(pl.lit(None, pl.Date).alias(DAY)), "found Date with 4 nulls"),
        (with_cell(DAY, None), "found Date with 1 nulls"),
    ],
)
def test_rows_that_do_not_tell_their_day_are_refused(frame: pl.DataFrame, found: str):
    with pytest.raises(ContractBroken, match=f"must have a column event_date of type Date without nulls, {found}"):
        judge(Payments, frame, DAYS)


def test_days_without_rows_are_good_and_empty():
    judged = judge(Payments, GOOD.head(0), DAYS)

    assert verdict(judged) == (dict.fromkeys(DAYS, 0), {})
    assert all(f.schema == GOOD.schema for f in judged.good.values())


def test_rules_about_a_frame_are_judged_day_by_day():
    _, bad = verdict(judge(AtLeastTwo, GOOD, DAYS))

    assert bad == {day(1): ["AtLeastTwo: at_least_two_rows"], day(2): ["AtLeastTwo: at_least_two_rows"]}


def test_rules_about_a_column_as_a_whole_are_judged_day_by_day():
    frame = payments((0, 1, 1.0, "cash"), (0, 2, 1.0, "card"), (1, 3, 90.0, "cash"), (1, 4, 90.0, "cash"))

    assert list(judge(SmallMean, frame, DAYS[:2]).bad) == [day(1)]
    assert list(judge(BothKinds, frame, DAYS[:2]).bad) == [day(1)]


def test_rules_of_rows_and_of_the_frame_are_both_named():
    bad = judge(AtLeastTwo, payments((0, 1, -1.0, "cash")), DAYS[:1]).bad

    assert bad[day(0)]["reason"].to_list() == ["amount: greater_than_or_equal_to(0); AtLeastTwo: at_least_two_rows"]


def test_a_day_with_repeats_that_breaks_a_rule_of_the_column_too_is_bad_and_no_error():
    frame = payments((0, 1, 90.0, "cash"), (0, 1, 90.0, "cash"), (1, 2, 1.0, "cash"))

    good, bad = verdict(judge(BothKinds, frame, DAYS[:1] + DAYS[1:2]))

    assert good == {}
    assert "id: field_uniqueness" in bad[day(0)] or "kind: unique_values_eq(['cash', 'card'])" in bad[day(0)]


def test_a_table_without_dates_is_one_partition():
    frame = pl.DataFrame({"id": [1, -1], "photo": [b"\xff", None]})

    judged = judge(Customers, frame, [WHOLE])

    assert not judged.good
    assert judged.bad[WHOLE].rows() == [(None, "id: greater_than_or_equal_to(0)", '{"id":-1,"photo":null}')]


def test_bytes_of_an_offending_row_are_printed_as_base64():
    bad = judge(Customers, pl.DataFrame({"id": [-1], "photo": [b"\xff"]}), [WHOLE]).bad

    assert bad[WHOLE]["row"][0] == '{"id":-1,"photo":"/w=="}'


def test_the_schema_of_a_contract_is_that_of_the_rows_that_keep_it():
    assert schema_of(Payments) == GOOD.schema


CELL_ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 9),
        st.sampled_from([0.0, 1.0, 1.0, 2.0, 200.0, -1.0, None, float("nan")]),
        st.sampled_from(["cash", "card", "cash", "card", None, "cheque"]),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(CELL_ROWS, st.sampled_from([Payments, AtLeastTwo, SmallMean, BothKinds, CardsPay]))
def test_a_range_is_judged_as_each_of_its_days_alone(rows: list[tuple[Any, ...]], contract: Contract):
    frame = payments(*sorted(rows, key=lambda row: row[0]))

    judged = judge(contract, frame, DAYS)

    for key in DAYS:
        alone = judge(contract, frame.filter(pl.col(DAY) == date.fromisoformat(key)), [key])
        for together, single in ((judged.good, alone.good), (judged.bad, alone.bad)):
            assert (key in together) == (key in single)
            if key in single:
                assert_frame_equal(together[key], single[key])
