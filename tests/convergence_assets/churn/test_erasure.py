"""A churn customer, whose id is a text that occurs nowhere else, leaves a home, inbox to warehouse, without a byte."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from convergence.cli.erase import carry_out, subject_named
from resources import environments
from tests.convergence.erasure.world import naming
from tests.convergence_assets.churn.worlds import House, day, failure, house_in

BUILT = (["raw_customers"], ["customers"], ["stg_customers", "mart_accounts", "accounts"], ["churn_labels"])
FIRST, LAST = day(0), day(2)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Three of the days built on an instance with its files in the home."""
    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(home / "dagster")) as instance:
        built = house_in(home, instance)
        monkeypatch.setattr(environments, "settings", lambda: built.settings)
        built.arrive(250)
        made(built, *BUILT)
        yield built


def made(house: House, *steps: list[str]) -> None:
    for assets in steps:
        result = house.materialize(FIRST, LAST, *assets)
        assert result.success, failure(result)


def test_a_customer_leaves_every_byte_of_a_home_and_what_is_made_again_is_without_it(house: House) -> None:
    home = house.settings.home
    who, other = house.rows("customers", FIRST)["customerID"].to_list()[:2]
    before = naming(home, who)
    assert {place.split("/")[0] for place in before} == {"inbox", "lake", "warehouse"}
    held = house.rows("accounts").height

    told = carry_out(subject_named(f"customer:{who}"), house.instance, actor="me", reason="asked")

    assert naming(home, who) == []
    assert [each["rows"] for each in told["tables"]] == [1, 1, 1, 1]
    assert told["stores"]["warehouse, DuckDB"]["entries"] == 1
    assert house.rows("accounts").height == held - 1
    made(house, ["customers"])
    assert naming(home, who) == []
    assert other in set(house.rows("accounts")["customer_id"])
