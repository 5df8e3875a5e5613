"""Neither warehouse keeps anything of a subject, and both can be filled again."""

import polars as pl
import pytest

from convergence.erasure.subjects import Subject
from convergence.erasure.warehouse import WarehouseTables
from convergence.lake.tables import Lake
from convergence.warehouse.warehouse import Warehouse
from tests.convergence.warehouse import test_warehouse
from tests.convergence.warehouse.test_warehouse import ROWS, offered

warehouse = test_warehouse.warehouse

WHO, OTHER = "7590-VHVEG", "5575-GNVDE"
SUBJECT = Subject("customer", WHO, {"world/people": "customerID"}, {})


@pytest.fixture
def filled(warehouse: Warehouse, lake: Lake) -> Warehouse:
    offered(warehouse, lake, ROWS.with_columns(pl.Series("customerID", [WHO, OTHER])))
    with warehouse.session() as session:
        session.execute("create schema if not exists marts")
        session.execute('create table marts.accounts as select "customerID" from lake_world.people')
    return warehouse


def test_a_warehouse_that_holds_the_subject_is_emptied_and_can_be_filled_again(filled: Warehouse, lake: Lake) -> None:
    store = WarehouseTables(filled, lambda: False)

    assert store.erase(SUBJECT, dry_run=True).entries >= 1
    told = store.erase(SUBJECT, dry_run=False)

    assert "marts.accounts" in told.where
    offered(filled, lake, ROWS.with_columns(customerID=pl.lit(OTHER)))
    with filled.session() as session:
        assert set(session.frame('select "customerID" from lake_world.people')["customerID"]) == {OTHER}
        assert "marts" not in session.frame("select schema_name from information_schema.schemata")["schema_name"]


def test_a_warehouse_without_the_subject_stays_unless_the_lake_lost_rows(filled: Warehouse) -> None:
    nobody = Subject("customer", "0000-AAAAA", SUBJECT.columns, {})

    WarehouseTables(filled, lambda: False).erase(nobody, dry_run=False)
    with filled.session() as session:
        assert session.frame("select count(*) as n from marts.accounts").item() == 2

    WarehouseTables(filled, lambda: True).erase(nobody, dry_run=False)
    with filled.session() as session:
        assert "marts" not in session.frame("select schema_name from information_schema.schemata")["schema_name"]
