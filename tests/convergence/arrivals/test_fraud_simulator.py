"""The rules of the simulated card transactions, on a small world."""

from datetime import date, datetime, timedelta
from functools import cache

import polars as pl
import pytest

from convergence.arrivals.simulators.fraud import SCHEMA, simulate
from convergence.errors import ConvergenceError


@cache
def small(*, days: int = 60, seed: int = 0, terminals: float = 25.0, customers: float = 12.0) -> pl.DataFrame:
    """200 customers and 400 terminals; the two rates are those of newly compromised ones."""
    return simulate(
        customers=200,
        terminals=400,
        days=days,
        seed=seed,
        compromised_terminals=terminals,
        compromised_customers=customers,
    )


def test_equal_seeds_give_equal_transactions() -> None:
    assert small().equals(
        simulate(customers=200, terminals=400, days=60, compromised_terminals=25, compromised_customers=12)
    )


def test_another_seed_gives_other_transactions() -> None:
    assert not small().equals(small(seed=1))


@pytest.mark.parametrize("days", [1, 20, 59])
def test_a_day_does_not_depend_on_how_many_follow_it(days) -> None:
    assert small(days=days).equals(small().filter(pl.col("TX_TIME_DAYS") < days))


def test_the_schema_is_that_of_the_published_data() -> None:
    assert small().schema == SCHEMA
    assert small().null_count().sum_horizontal().item() == 0


def test_transactions_are_in_order_of_time_with_running_ids() -> None:
    assert small()["TX_DATETIME"].is_sorted()
    assert small()["TRANSACTION_ID"].to_list() == list(range(small().height))


def test_the_three_times_agree() -> None:
    start = datetime(2018, 4, 1)
    assert small().select(
        seconds=(pl.col("TX_DATETIME") == start + pl.duration(seconds="TX_TIME_SECONDS")).all(),
        days=(pl.col("TX_TIME_DAYS") == pl.col("TX_TIME_SECONDS") // 86_400).all(),
    ).row(0) == (True, True)


def test_every_day_of_the_period_and_no_other_has_transactions() -> None:
    assert small()["TX_DATETIME"].dt.date().unique().sort().to_list() == [
        date(2018, 4, 1) + timedelta(days=day) for day in range(60)
    ]


def test_amounts_have_two_decimals_and_are_not_negative() -> None:
    amount = small()["TX_AMOUNT"]
    assert amount.equals(amount.round(2))
    assert amount.to_numpy().min() >= 0


def test_the_fraud_flag_is_set_for_every_scenario_and_nothing_else() -> None:
    assert ((small()["TX_FRAUD"] == 1) == (small()["TX_FRAUD_SCENARIO"] > 0)).all()
    assert set(small()["TX_FRAUD_SCENARIO"]) == {0, 1, 2, 3}


def test_scenario_1_is_every_amount_above_220_without_a_later_scenario() -> None:
    plain = small(terminals=0.0, customers=0.0)
    assert ((plain["TX_AMOUNT"] > 220) == (plain["TX_FRAUD_SCENARIO"] == 1)).all()
    assert small().filter(pl.col("TX_AMOUNT") > 220, pl.col("TX_FRAUD") == 0).is_empty()
    assert plain["TX_FRAUD"].to_numpy().sum() > 0


def test_scenario_2_takes_all_transactions_of_a_terminal_for_at_most_28_days() -> None:
    frame = small(terminals=1.5, customers=0.0)
    marked = frame.filter(pl.col("TX_FRAUD_SCENARIO") == 2)
    periods = marked.group_by("TERMINAL_ID").agg(first=pl.col("TX_TIME_DAYS").min(), last=pl.col("TX_TIME_DAYS").max())
    inside = frame.join(periods, on="TERMINAL_ID").filter(pl.col("TX_TIME_DAYS").is_between("first", "last"))
    assert periods.filter(pl.col("last") - pl.col("first") >= 28).is_empty()
    assert set(inside["TX_FRAUD_SCENARIO"]) == {2}


def test_scenario_3_multiplies_the_amounts_of_a_card_by_five_and_leaves_the_others() -> None:
    before, after = small(terminals=0.0, customers=0.0), small(terminals=0.0, customers=1.0)
    factor = after["TX_FRAUD_SCENARIO"].replace_strict({0: 1, 1: 1, 3: 5}, return_dtype=pl.Float64)
    assert after["TX_AMOUNT"].equals((before["TX_AMOUNT"] * factor).round(2))
    assert after.drop("TX_AMOUNT", "TX_FRAUD", "TX_FRAUD_SCENARIO").equals(
        before.drop("TX_AMOUNT", "TX_FRAUD", "TX_FRAUD_SCENARIO")
    )


def test_scenario_3_takes_a_third_of_a_cards_transactions_within_14_days() -> None:
    # One card is compromised, on day 12: the first day on which 0.04 per day add up to a half.
    frame = small(days=30, terminals=0.0, customers=1.0)
    card = frame.filter(pl.col("TX_FRAUD_SCENARIO") == 3)["CUSTOMER_ID"].unique().item()
    window = frame.filter(pl.col("CUSTOMER_ID") == card, pl.col("TX_TIME_DAYS").is_between(12, 25))
    assert (frame["TX_FRAUD_SCENARIO"] == 3).sum() == (window["TX_FRAUD_SCENARIO"] == 3).sum() == window.height // 3


def test_a_later_scenario_replaces_an_earlier_one() -> None:
    without = small(customers=0.0)
    replaced = small().filter(without["TX_FRAUD_SCENARIO"] == 2, pl.col("TX_FRAUD_SCENARIO") != 2)
    assert set(replaced["TX_FRAUD_SCENARIO"]) == {3}


def test_a_small_world_keeps_the_published_fraud_rate() -> None:
    frame = simulate(customers=400, terminals=800)
    assert 0.006 < frame["TX_FRAUD"].to_numpy().mean() < 0.011


def test_customers_without_a_terminal_in_reach_make_no_transaction() -> None:
    frame = simulate(customers=300, terminals=1, days=5, radius=20)
    assert 0 < frame["CUSTOMER_ID"].n_unique() < 100


def test_a_radius_that_reaches_no_terminal_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="use more terminals or a larger radius"):
        simulate(customers=2, terminals=1, days=1, radius=0.01)


@pytest.mark.parametrize("wrong", [{"customers": 0}, {"terminals": 0}, {"days": 0}, {"seed": -1}, {"radius": 0.0}])
def test_a_size_that_is_not_positive_is_refused(wrong) -> None:
    with pytest.raises(ConvergenceError, match="expected positive customers"):
        simulate(**wrong)


def test_more_compromised_than_exist_is_refused() -> None:
    with pytest.raises(ConvergenceError, match=r"found 2\.0 and 6000"):
        simulate(compromised_customers=6000)
