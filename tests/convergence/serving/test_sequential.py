"""The sequential test keeps its promise under constant peeking, and finds what there is."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, logsumexp

from convergence.serving.assignment import assign, sample_ratio_p
from convergence.serving.sequential import SequentialTest, log_evidence

USERS, ALPHA = 20_000, 0.05
HALVES = {"a": 0.5, "b": 0.5}


def p_values(treated: np.ndarray, event: np.ndarray, share: float) -> np.ndarray:
    """The test's least p of each run, looked at after every user: the same formula on whole arrays."""
    evidence = []
    for happened in (event, ~event):
        mine, others = ((group & happened).cumsum(axis=1) for group in (treated, ~treated))
        mixture = gammaln(mine + 1) + gammaln(others + 1) - gammaln(mine + others + 2)
        evidence.append(mixture - mine * math.log(share) - others * math.log1p(-share))
    return np.exp(-np.maximum(0, logsumexp(evidence, axis=0) - math.log(2))).min(axis=1)


def simulated(runs: int, rates: tuple[float, float], share: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    treated = random.random((runs, USERS)) < share
    event = random.random((runs, USERS)) < np.where(treated, rates[1], rates[0])
    return p_values(treated, event, share)


def test_the_evidence_is_the_mixture_of_likelihoods_over_the_one_of_the_null() -> None:
    likelihood = quad(lambda q: q**3 * (1 - q) ** 7, 0, 1)[0]
    assert log_evidence(3, 7, 0.2) == pytest.approx(math.log(likelihood / (0.2**3 * 0.8**7)))


def test_the_test_unit_by_unit_is_the_formula() -> None:
    random = np.random.default_rng(1)
    treated, event = random.random((1, 300)) < 0.3, random.random((1, 300)) < 0.2
    test = SequentialTest(0.3)
    for t, e in zip(treated[0], event[0], strict=True):
        test.observe(treated=bool(t), event=bool(e))
    assert test.p_value == pytest.approx(p_values(treated, event, 0.3)[0])


@pytest.mark.parametrize(
    ("rate", "share"), [(0.05, 0.5), (0.5, 0.5), (0.01, 0.05)], ids=["conversion", "even", "canary"]
)
def test_equal_variants_raise_a_false_alarm_in_less_than_5_of_100_runs_looked_at_all_the_time(
    rate: float, share: float
) -> None:
    runs = 300
    alarms = int((simulated(runs, (rate, rate), share, seed=7) <= ALPHA).sum())
    assert alarms <= ALPHA * runs


def test_20_000_users_assigned_by_hash_without_any_difference_are_split_evenly_and_raise_no_more_alarms() -> None:
    """The same with the assignment as it is: 20 experiments over the same users, of whom the same ones convert."""
    users = [f"user-{n}" for n in range(USERS)]
    event = np.random.default_rng(11).random(USERS) < 0.05
    alarms, broken = 0, 0
    for experiment in range(20):
        treated = np.array([assign(user, HALVES, salt=f"aa/{experiment}") == "a" for user in users])
        alarms += int(p_values(treated[None], event[None], 0.5)[0] <= ALPHA)
        broken += sample_ratio_p({"a": int(treated.sum()), "b": int((~treated).sum())}, HALVES) < 0.001
    assert alarms <= ALPHA * 20
    assert broken == 0


def test_a_fixed_test_looked_at_all_the_time_would_not_keep_that_promise() -> None:
    random = np.random.default_rng(7)
    treated, event = random.random((100, USERS)) < 0.5, random.random((100, USERS)) < 0.05
    n1, n0 = treated.cumsum(axis=1), (~treated).cumsum(axis=1)
    k1, k0 = (treated & event).cumsum(axis=1), (~treated & event).cumsum(axis=1)
    n1, n0, k1, k0 = (x[:, 999::100] for x in (n1, n0, k1, k0))
    pooled = (k1 + k0) / (n1 + n0)
    z = (k1 / n1 - k0 / n0) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
    assert (np.abs(z).max(axis=1) > 1.96).mean() > 0.15


@pytest.mark.parametrize("rates", [(0.05, 0.07), (0.05, 0.035), (0.5, 0.55)], ids=["more", "fewer", "even"])
def test_a_real_effect_is_found_in_nearly_every_run(rates: tuple[float, float]) -> None:
    assert (simulated(50, rates, 0.5, seed=8) <= ALPHA).mean() > 0.9


def test_a_rate_that_changes_with_time_for_both_raises_no_alarm() -> None:
    random = np.random.default_rng(9)
    treated = random.random((200, USERS)) < 0.5
    event = random.random((200, USERS)) < np.linspace(0.01, 0.3, USERS)
    assert (p_values(treated, event, 0.5) <= ALPHA).sum() <= ALPHA * 200


def test_nothing_is_said_before_anybody_was_observed() -> None:
    test = SequentialTest(0.05)
    assert (test.p_value, test.rates) == (1.0, (0.0, 0.0))
