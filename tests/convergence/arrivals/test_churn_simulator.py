"""The rules of the simulated customers: the published schema, and what leaving depends on."""

from functools import cache

import polars as pl
import pytest

from convergence.arrivals.simulators.churn import ADD_ONS, SCHEMA, simulate
from convergence.errors import ConvergenceError


@cache
def customers(seed: int = 0) -> pl.DataFrame:
    return simulate(seed=seed)


def test_it_is_as_large_as_the_published_data_and_has_their_schema() -> None:
    assert customers().schema == SCHEMA
    assert customers().shape == (7043, 21)
    assert customers().null_count().sum_horizontal().item() == 0


def test_equal_seeds_give_equal_customers_and_others_give_others() -> None:
    assert customers().equals(simulate())
    assert not customers().equals(customers(1))


def test_exactly_the_new_customers_have_a_blank_total() -> None:
    blank = customers().filter(pl.col("TotalCharges") == " ")
    assert blank.height == 11
    assert blank["tenure"].unique().to_list() == [0]
    assert customers().filter(tenure=0).height == 11
    assert blank["Churn"].unique().to_list() == ["No"]


def test_every_other_total_is_about_what_the_months_cost() -> None:
    charged = customers().filter(pl.col("tenure") > 0).with_columns(pl.col("TotalCharges").cast(pl.Float64))
    ratio = charged["TotalCharges"] / (charged["MonthlyCharges"] * charged["tenure"])
    assert ratio.is_between(0.84, 1.16).all()


def test_no_two_customers_share_an_identifier_of_the_published_form() -> None:
    assert customers()["customerID"].is_unique().all()
    assert customers()["customerID"].str.contains(r"^\d{4}-[A-Z]{5}$").all()


def test_services_need_what_they_run_on() -> None:
    offline = customers().filter(InternetService="No").select(ADD_ONS.keys())
    assert set(offline.unique().row(0)) == {"No internet service"}
    assert customers().filter(PhoneService="No")["MultipleLines"].unique().to_list() == ["No phone service"]
    assert customers().filter(PhoneService="No")["InternetService"].unique().to_list() == ["DSL"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_as_many_leave_as_published_and_those_without_a_contract_most(seed) -> None:
    leaves = customers(seed).with_columns(leaves=pl.col("Churn") == "Yes")
    assert leaves["leaves"].to_numpy().mean() == pytest.approx(0.265, abs=0.03)
    by_contract = dict(leaves.group_by("Contract").agg(pl.col("leaves").mean()).iter_rows())
    assert by_contract["Month-to-month"] > 2 * by_contract["One year"] > 4 * by_contract["Two year"] > 0


@pytest.mark.parametrize("wrong", [{"customers": 0}, {"seed": -1}], ids=str)
def test_impossible_worlds_are_refused(wrong) -> None:
    with pytest.raises(ConvergenceError, match="expected at least 1 customer"):
        simulate(**wrong)


def test_one_customer_is_a_world() -> None:
    assert simulate(1).height == 1
