"""The replay clock."""

from datetime import timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals.simulators.churn import simulate
from convergence_assets.churn.arrivals import DAYS, FIRST_DAY, LAST_DAY, TOPIC, history, on_replay_clock
from resources.environments import Settings


@given(tenures=st.lists(st.integers(0, 72), max_size=400))
@settings(max_examples=50, deadline=None)
def test_days_differ_by_one_customer_at_most_and_no_customer_is_lost(tenures: list[int]) -> None:
    customers = pl.DataFrame({"tenure": tenures, "n": range(len(tenures))}, schema={"tenure": pl.Int64, "n": pl.Int64})
    dealt = on_replay_clock(customers)
    assert sorted(dealt["n"]) == list(range(len(tenures)))
    per_day = dict(dealt.group_by(pl.col("event_time").dt.date()).len().iter_rows())
    counts = [per_day.get(FIRST_DAY + timedelta(days=d), 0) for d in range(DAYS)]
    assert sum(counts) == len(tenures)
    assert max(counts) - min(counts) <= 1


@given(tenures=st.lists(st.integers(0, 72), min_size=1, max_size=400))
@settings(max_examples=50, deadline=None)
def test_within_a_day_longer_tenures_come_later(tenures: list[int]) -> None:
    dealt = on_replay_clock(pl.DataFrame({"tenure": tenures})).sort("event_time")
    for _, of_day in dealt.group_by(pl.col("event_time").dt.date()):
        assert of_day.sort("event_time")["tenure"].is_sorted()


def test_every_day_of_the_sample_has_the_same_mix_of_tenures() -> None:
    dealt = on_replay_clock(simulate())
    means = dealt.group_by(pl.col("event_time").dt.date()).agg(pl.col("tenure").mean())["tenure"]
    overall = dealt["tenure"].mean()
    assert means.len() == DAYS
    assert isinstance(overall, float)
    assert (means - overall).abs().max() < 1.5  # months: days drawn at random differ by up to 8


def test_the_clock_stays_within_the_history() -> None:
    days = on_replay_clock(simulate())["event_time"].dt.date()
    assert (days.min(), days.max()) == (FIRST_DAY, LAST_DAY)


def test_without_published_data_customers_are_simulated_and_say_so() -> None:
    frame, origin = history(None)
    assert origin.startswith("SIMULATED HERE")
    assert frame.select(pl.len()).collect().item() == 7_043


def test_the_published_customers_keep_their_blank_charges() -> None:
    data = Settings().published_data
    assert data is not None
    frame, origin = TOPIC.history(data)
    customers = frame.collect()
    blank = customers.filter(pl.col("TotalCharges").str.strip_chars() == "")
    assert origin.startswith("published")
    assert (customers.height, customers["customerID"].n_unique()) == (7_043, 7_043)
    assert (blank.height, blank["tenure"].max()) == (11, 0)
