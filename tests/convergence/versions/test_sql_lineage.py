"""Column lineage of SQL: the shapes that dbt models have, and text that cannot be traced."""

import pytest

from convergence.versions.sql_lineage import Relation, UnreadableQuery, query_columns

CUSTOMERS, BILLS = Relation("customers", "churn", "lake"), Relation("bills", "churn", "lake")
TABLES = {CUSTOMERS: ["id", "Name", "since"], BILLS: ["customer", "amount", "paid"]}
SHAPES = {
    "renamed": ("select Name as called from lake.churn.customers", {"called": {"Name"}}),
    "quoted": ('select "Name" as called from "lake"."churn"."customers"', {"called": {"Name"}}),
    "every column": ("select * from churn.customers", {"id": {"id"}, "name": {"Name"}, "since": {"since"}}),
    "every column but one": ("select * exclude (since) from churn.customers", {"id": {"id"}, "name": {"Name"}}),
    "computed": ("select coalesce(amount, 0) / paid as part from churn.bills", {"part": {"amount", "paid"}}),
    "case": (
        "select case when since > 3 then Name else 'x' end as c from churn.customers",
        {"c": {"since", "Name"}},
    ),
    "constant": ("select 1 as one, count(*) as n from churn.bills", {"one": set(), "n": set()}),
    "window": (
        "select sum(amount) over (partition by customer order by paid) as s from churn.bills",
        {"s": {"amount", "customer", "paid"}},
    ),
    "aggregate of a join": (
        "select c.Name as n, max(b.amount) as m from churn.customers c"
        " join churn.bills b on b.customer = c.id group by 1",
        {"n": {"Name"}, "m": {"amount"}},
    ),
    "with, of the name of the table": (
        "with customers as (select * from churn.customers), twice as (select id + id as d from customers)"
        " select d, d * 2 as q from twice",
        {"d": {"id"}, "q": {"id"}},
    ),
    "union": (
        "select id as k from churn.customers union all select customer from churn.bills",
        {"k": {"id", "customer"}},
    ),
    "subquery": ("select s.a as b from (select amount as a from churn.bills) as s", {"b": {"amount"}}),
}


@pytest.mark.parametrize(("sql", "expected"), SHAPES.values(), ids=SHAPES)
def test_the_sources_of_a_column_are_those_that_its_value_is_computed_from(sql: str, expected: dict) -> None:
    found = query_columns(sql, TABLES)
    assert {name: {column for _, column in sources} for name, sources in found.items()} == expected


def test_columns_of_one_name_are_told_apart_by_their_table() -> None:
    tables = {Relation("a", "s"): ["id"], Relation("b", "s"): ["id"]}
    found = query_columns("select a.id as x, b.id as y from s.a as a join s.b as b on a.id = b.id", tables)
    assert found == {"x": ((Relation("a", "s"), "id"),), "y": ((Relation("b", "s"), "id"),)}


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_it_reads_the_dialects_of_both_warehouses(dialect: str) -> None:
    found = query_columns("select cast(amount as double precision) as a from lake.churn.bills", TABLES, dialect)
    assert found == {"a": ((BILLS, "amount"),)}


@pytest.mark.parametrize("sql", ["selec x fro", "select nobody from churn.customers", "select x from elsewhere"])
def test_what_cannot_be_traced_is_refused_in_plain_text(sql: str) -> None:
    with pytest.raises(UnreadableQuery, match="cannot be traced") as refused:
        query_columns(sql, TABLES)
    assert sql in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "select id from churn.customers where Name = 'Zacharias ''Z'' Quintessenz' = ) x",
        "select id, from 'Quintessenz' 7001002003",
        "select 'Quintessenz",
        "select nobody from churn.customers where Name = 'Quintessenz' and id = 7001002003",
    ],
)
def test_a_query_that_cannot_be_traced_is_told_without_the_values_in_it(sql: str) -> None:
    with pytest.raises(UnreadableQuery) as refused:
        query_columns(sql, TABLES)
    assert "Quintessenz" not in str(refused.value)
    assert "7001002003" not in str(refused.value)
    assert refused.value.__cause__ is None
