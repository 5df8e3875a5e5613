"""What the contract of customers admits, the mart computes, on both warehouses; what it does not admit waits."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from convergence.lake.manifests import states
from convergence.services.postgres import PostgresServer
from convergence_assets.churn.arrivals import FIRST_DAY
from convergence_assets.churn.contracts import RawCustomer
from resources.configured import resources
from tests.convergence_assets.churn.worlds import House, day, failure, house_in

MARTS = ("stg_customers", "mart_accounts")
BEFORE = "(event_date date, customer_id text, monthly_charges real, former text)"  # the mart as older code made it
EDGES = ["", " ", "  ", "0", "0.0", "007.50", "99999999.99999999999999999999", "100000000", "0." + "0" * 19 + "1"]
BLANKS = [
    "\t",
    "\n",
    " \n",
    "\r",
    "\v",
    "\x1c",
    "\x85",
    "\xa0",
    "\u1680",
    "\u2003",
    "\u2028",
    "\u3000",
    "\ufeff",
    "\u200b",
]
DIGITS = ["\u0663", "\uff11\uff12", "\u0967.5", "1\u0664", "\u00b2", "\u2460"]
FORMS = [
    "-1",
    "+1",
    "-0",
    "1e5",
    "1E-3",
    ".5",
    "5.",
    "1,5",
    "1_0",
    "0x1p3",
    "NaN",
    "inf",
    " 1",
    "1 ",
    "1\n",
    "9" * 400,
    "0." + "0" * 400 + "1",
]
SETS = {
    name: check.statistics["allowed_values"]
    for name, column in RawCustomer.to_schema().columns.items()
    for check in column.checks
    if check.name == "isin"
}
ADMITTED = st.fixed_dictionaries(
    {name: st.sampled_from(sorted(values)) for name, values in SETS.items()}
    | {
        "tenure": st.sampled_from([1, 1_200]) | st.integers(0, 1_200),
        "MonthlyCharges": st.sampled_from([0.0, -0.0, 5e-324, 10_000.0]) | st.floats(0, 10_000),
        "TotalCharges": st.decimals(0, 99_999_999, places=2).map(str) | st.floats(0.001, 1e7).map(str),
        "event_time": st.integers(0, 2 * 86_400_000_000 - 1).map(
            lambda us: datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day) + timedelta(microseconds=us)
        ),
    }
)
# a value of a row that is drawn without regard to the contract
ANY = st.one_of(
    st.tuples(st.just("tenure"), st.sampled_from([-1, 1_201, -(2**63), 2**63 - 1])),
    st.tuples(st.just("MonthlyCharges"), st.floats()),
    st.tuples(st.just("TotalCharges"), st.text(max_size=3)),
    st.tuples(st.just("TotalCharges"), st.text(" .0123456789", max_size=12)),
    st.tuples(st.just("customerID"), st.sampled_from(["\u0661234-ABCDE", "1234-ABCDE\n", "1234-abcde", "12345-ABCDE"])),
    st.tuples(st.sampled_from(["gender", "Contract", "InternetService", "Churn"]), st.sampled_from(["", "Yes ", "no"])),
)


def is_sound(row: dict[str, Any]) -> bool:
    """What the contract says, in plain Python."""
    blank = set(row["TotalCharges"]) <= {" "}
    return bool(
        re.fullmatch("[0-9]{4}-[A-Z]{5}", row["customerID"])
        and all(row[name] in values for name, values in SETS.items())
        and 0 <= row["tenure"] <= 1_200
        and 0 <= row["MonthlyCharges"] <= 10_000
        and (row["tenure"] == 0 if blank else re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,20})?", row["TotalCharges"]))
    )


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """As many customers as are drawn, for one run of dbt; each awkward text of charges is among them."""
    found: list[dict[str, Any]] = []

    @settings(max_examples=100, phases=[Phase.generate], database=None, deadline=None)
    @given(ADMITTED, ANY)
    def collect(row: dict[str, Any], anything: tuple[str, Any]) -> None:
        found.append({**row, "customerID": f"{len(found):04}-DRAWN"})
        found.append({**row, "customerID": f"{len(found):04}-DRAWN"} | dict([anything]))

    collect()
    for number, (text, tenure) in enumerate(product([*EDGES, *BLANKS, *DIGITS, *FORMS], (0, 7))):
        found.append(found[0] | {"customerID": f"{number:04}-EDGES", "TotalCharges": text, "tenure": tenure})
    return list({row["customerID"]: row for row in found}.values())


@pytest.fixture(scope="module")
def houses(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> Iterator[dict[str, House]]:
    """Landed once; nothing is built yet, but a mart of another form is there."""
    home = tmp_path_factory.mktemp("house")
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVERGENCE_POSTGRES", postgres.url)  # by whose name the graph's resources know it
        by_warehouse = {
            "duckdb": house_in(home, instance),
            "postgres": house_in(home, instance, warehouse="postgres", postgres=postgres.url),
        }
        here = by_warehouse["duckdb"]
        here.arrive(1, "one")  # makes the folder
        (here.settings.home / "inbox" / "churn.customers" / "one.parquet").unlink()
        here.drop(pl.DataFrame(rows), "drawn")
        result = here.materialize(day(0), day(1), "raw_customers", "customers")
        assert result.success, failure(result)
        for house in by_warehouse.values():
            with resources(house.settings, in_clear=True)["warehouse"].plain.session() as session:
                session.execute("drop schema if exists marts cascade")
                session.execute("create schema marts")
                session.execute(f"create table marts.mart_accounts {BEFORE}")
        yield by_warehouse
        resources(by_warehouse["postgres"].settings, in_clear=True)["warehouse"].plain.empty()


def test_a_customer_is_landed_exactly_if_its_values_make_sense_and_else_waits_with_a_reason(
    houses: dict[str, House], rows: list[dict[str, Any]]
) -> None:
    sound = {row["customerID"] for row in rows if is_sound(row)}
    landed, rejected = (houses["duckdb"].rows(name) for name in ("raw_customers", "raw_customers_rejected"))
    assert set(landed["customerID"]) == sound
    assert len(sound) > 100 < len(rows) - len(sound)
    assert (landed.height, rejected.height) == (len(sound), len(rows) - len(sound))
    assert (rejected["reason"] != "").all()


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_what_was_landed_is_computed_as_plain_python_does_also_into_a_mart_of_another_form(
    houses: dict[str, House], rows: list[dict[str, Any]], engine: str
) -> None:
    result = houses[engine].materialize(day(0), day(1), *MARTS, "accounts")
    assert result.success, failure(result)
    assert states(houses[engine].lake, ["churn/accounts"])["churn/accounts"][day(1)].run_id == result.run_id
    expected = {}
    for row in filter(is_sound, rows):
        total, monthly, tenure = float(row["TotalCharges"].strip() or 0), row["MonthlyCharges"], row["tenure"]
        mean = total / tenure if tenure else monthly
        time = row["event_time"].replace(tzinfo=UTC)
        expected[row["customerID"]] = (time, tenure, monthly, total, mean, monthly - mean)
    columns = [
        "event_time",
        "tenure_months",
        "monthly_charges",
        "total_charges",
        "mean_monthly_charges",
        "charge_change",
    ]
    accounts = houses[engine].rows("accounts")
    assert accounts.height == len(expected)
    assert {row[0]: row[1:] for row in accounts.select("customer_id", *columns).iter_rows()} == expected
