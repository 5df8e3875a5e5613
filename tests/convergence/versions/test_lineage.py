"""Which column is made from which: what names tell, what contracts declare, and both directions over many tables."""

from typing import Any

import pandera.polars as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ConvergenceError
from convergence.versions.lineage import Column, ColumnGraph, UnknownColumn, declared

ORDERS, PRICES = Column("shop/orders", "amount"), Column("shop/prices", "price")
KNOWN = {"shop/orders": ("id", "amount", "at"), "shop/prices": ("id", "price")}
INPUTS = {"orders": "shop/orders", "prices": "shop/prices"}


def traced(columns: dict[str, Any], shared: Any = None, uses: Any = None) -> tuple[dict[str, Any], dict[str, str]]:
    """What is found for a contract with these columns, each with its field metadata or None."""
    fields = {name: pa.Field(metadata=metadata) for name, metadata in columns.items()}
    config = type("Config", (pa.DataFrameModel.Config,), {"metadata": shared})
    contract = type(
        "Invoice", (pa.DataFrameModel,), {"__annotations__": dict.fromkeys(columns, int), "Config": config, **fields}
    )
    return declared(contract, INPUTS, uses or {}).traced(KNOWN)


@pytest.mark.parametrize(
    ("metadata", "shared", "found"),
    [
        pytest.param(None, None, (ORDERS,), id="the one input that has the name"),
        pytest.param({"from": ["prices.price"]}, None, (PRICES,), id="what the field says, against the name"),
        pytest.param({"from": ["shop/prices.price"]}, None, (PRICES,), id="a table by its whole name"),
        pytest.param({"made_here": "a constant"}, None, (), id="nothing, for a reason"),
        pytest.param(None, {"from": ["prices.price"]}, (ORDERS,), id="the name, not what is for the others"),
    ],
)
def test_a_column_comes_from(metadata: Any, shared: Any, found: tuple[Column, ...]) -> None:
    assert traced({"amount": metadata}, shared)[0] == {"amount": found}


def test_a_name_that_two_inputs_have_tells_nothing_unless_one_of_them_gives_the_rows() -> None:
    assert traced({"id": None})[0] == {"id": ()}
    assert traced({"id": None}, {"rows_of": "prices"})[0] == {"id": (Column("shop/prices", "id"),)}


def test_what_nothing_is_known_of_is_from_what_the_contract_says_of_all() -> None:
    assert traced({"total": None}, {"from": ["orders.amount", "prices.price"]})[0] == {"total": (ORDERS, PRICES)}
    assert traced({"total": None}) == ({"total": ()}, {})


def test_the_reason_for_having_no_source_is_the_fields_or_the_contracts() -> None:
    shared = {"made_here": "counted"}
    assert traced({"amount": None, "seed": {"made_here": "drawn"}, "n": None}, shared)[1] == {
        "seed": "drawn",
        "n": "counted",
    }


def test_a_star_means_the_columns_that_the_asset_uses_or_all_there_are() -> None:
    every = {"total": {"from": ["orders.*"]}}
    assert traced(every)[0]["total"] == tuple(Column("shop/orders", name) for name in KNOWN["shop/orders"])
    assert traced(every, uses={"orders": ["amount"]})[0]["total"] == (ORDERS,)


@pytest.mark.parametrize("text", ["amount", "order.amount", "orders.", ""])
def test_a_source_that_names_no_input_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(ConvergenceError, match=r"Invoice\.total: .* names no source.* orders, prices"):
        traced({"total": {"from": [text]}})


def diamond() -> ColumnGraph:
    """a.x -> b.y, b.z -> c.w; b.z is made twice over."""
    a, y, z, w = Column("a", "x"), Column("b", "y"), Column("b", "z"), Column("c", "w")
    return ColumnGraph({"a": ["x"], "b": ["y", "z"], "c": ["w"]}, {y: [a], z: [a, y], w: [y, z]})


def test_a_tree_shows_each_source_below_what_is_made_from_it_and_nothing_twice() -> None:
    assert diamond().tree(Column("c", "w")) == [
        "c.w",
        "  b.y",
        "    a.x",
        "  b.z",
        "    a.x",
        "    b.y  (above)",
    ]


def test_a_name_that_is_a_little_wrong_is_answered_with_those_that_come_near() -> None:
    graph = ColumnGraph({"churn/customers": ["TotalCharges", "tenure"]}, {})
    with pytest.raises(UnknownColumn, match=r"has no column 'Totalcharge'. Did you mean TotalCharges\?"):
        graph.named("churn/customers.Totalcharge")
    with pytest.raises(UnknownColumn, match=r"no table is called 'churn/customer'. Did you mean churn/customers\?"):
        graph.named("churn/customer.tenure")
    with pytest.raises(UnknownColumn, match=r"no table is called 'x'. There are churn/customers\."):
        graph.named("x")


def test_a_table_by_itself_names_all_its_columns() -> None:
    assert diamond().named("b") == [Column("b", "y"), Column("b", "z")]


@st.composite
def graphs(draw: st.DrawFn) -> ColumnGraph:
    """Tables of two columns each; a column may be made from any of the tables before."""
    names = [f"t{n}" for n in range(draw(st.integers(1, 6)))]
    columns = [Column(table, name) for table in names for name in "xy"]
    sources = {
        column: draw(st.lists(st.sampled_from(columns[: place - place % 2]), unique=True)) if place > 1 else []
        for place, column in enumerate(columns)
    }
    return ColumnGraph({table: ["x", "y"] for table in names}, sources)


def closure(graph: ColumnGraph) -> set[tuple[Column, Column]]:
    """Every (source, made), by joining pairs until there are no new ones."""
    pairs = {(source, made) for made, sources in graph.sources.items() for source in sources}
    while new := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs |= new
    return pairs


@given(graphs())
def test_both_directions_are_the_transitive_closure_in_the_order_of_the_tables(graph: ColumnGraph) -> None:
    pairs, order = closure(graph), list(graph.columns)
    for column in order:
        assert graph.before([column]) == [c for c in order if (c, column) in pairs]
        assert graph.after([column]) == [c for c in order if (column, c) in pairs]


@given(graphs())
def test_a_tree_names_exactly_what_came_before(graph: ColumnGraph) -> None:
    for column in graph.columns:
        first, *rest = graph.tree(column)
        assert first == str(column)
        assert {line.split()[0] for line in rest} == {str(c) for c in graph.before([column])}
