"""Load and strikes are what the seed says, and the judgement of a message is that of the fault list."""

import json
from collections import Counter
from datetime import datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from convergence.arrivals.producer import POISON
from convergence.chaos.load import DATA, LARGEST, LATE, REJECTED, Mix, belongs, load_of, row_of, thrice, transactions
from convergence.chaos.nemesis import CASES, DAGSTER, POINTS, case_of, strikes_of
from convergence_assets.fraud.arrivals import TOPIC
from tests.convergence.chaos.evidence import history, load

SOAK = range(200)


def message(delay: timedelta) -> bytes:
    happened = datetime(2018, 5, 1, 12)
    arrived = happened + delay
    return json.dumps({"TX_DATETIME": f"{happened.isoformat()}Z", "arrived_at": f"{arrived.isoformat()}Z"}).encode()


@pytest.mark.parametrize("case", CASES)
def test_equal_seeds_give_equal_plans_and_another_seed_another_load(case: str) -> None:
    first, second, other = (load_of(TOPIC, history(), CASES[case].mix, seed) for seed in (3, 3, 4))
    assert_frame_equal(first.planned, second.planned)
    assert first.sends == second.sends
    assert not first.planned["value"].equals(other.planned["value"])
    assert strikes_of(case, 3) == strikes_of(case, 3)


def test_a_soak_holds_every_case_and_one_trial_in_ten_needs_dagster() -> None:
    drawn = Counter(case_of(seed) for seed in SOAK)
    assert drawn.keys() == CASES.keys()
    with_dagster = sum(any(s.how in DAGSTER for s in strikes_of(case_of(seed), seed)) for seed in SOAK)
    assert 10 <= with_dagster <= 30


def test_every_point_is_hit_in_a_soak() -> None:
    assert {s.point for seed in SOAK for s in strikes_of(case_of(seed), seed)} >= set(POINTS)


@pytest.mark.parametrize(
    ("hours", "home"),
    [(0, DATA), (47, DATA), (48, DATA), (49, LATE), (-2, REJECTED)],
    ids=["at once", "47 h", "48 h", "49 h", "a clock 2 h ahead"],
)
def test_a_usable_message_belongs_where_its_delay_says(hours: int, home: str) -> None:
    assert belongs(TOPIC, "message", message(timedelta(hours=hours))) == home


def test_poison_belongs_to_the_rejected_whatever_it_says() -> None:
    assert belongs(TOPIC, POISON, message(timedelta(0))) == REJECTED
    assert belongs(TOPIC, POISON, b"\0") == REJECTED


def test_edges_hold_messages_on_both_sides_of_each_limit_and_a_large_one() -> None:
    usable = load().planned.filter(pl.col("kind") != POISON)
    delays = [row_of(TOPIC, value) for value in usable["value"]]
    late_by = {row["arrived_at"] - row["event_time"] - TOPIC.late_after for row in delays}
    assert {timedelta(microseconds=n) for n in (-1, 0, 1)} <= late_by
    assert LARGEST * 0.9 < usable["value"].bin.size().max() < 1_000_000


def test_messages_are_sent_in_full_whatever_is_sent_again_or_aborted() -> None:
    for seed in range(20):
        for case in CASES.values():
            made = load_of(TOPIC, history(), case.mix, seed)
            sent = {n for send in made.sends if send.transaction != "abort" for n in range(send.first, send.end)}
            assert sent == set(range(made.planned.height))


def test_some_messages_are_sent_three_times() -> None:
    sends = load_of(TOPIC, history(), Mix(sends=thrice), 1).sends
    times = Counter(n for send in sends for n in range(send.first, send.end))
    assert max(times.values()) == 3


def test_transactions_are_aborted_and_committed() -> None:
    sends = load_of(TOPIC, history(), Mix(sends=transactions), 1).sends
    assert Counter(send.transaction for send in sends) == {"": 4, "abort": 2, "commit": 1}
