"""A simulated service with a challenger at 5 %: who answers, and when the challenger has to go."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from convergence.lake.tables import Lake
from convergence.models.release_log import end_canary, newest, promote, start_canary
from convergence.models.releases import Release
from convergence.serving.canary import Canary, Guards, Score, distance
from convergence.versions.audit import AuditLog
from tests.convergence.models.releasing import FRAUD, make

Model = Callable[[np.random.Generator], float]
GUARDS = Guards(slow=0.02)


def release(share: float = 0.05, number: int = 3) -> Release:
    canary = {"model_version": "v2", "sha256": "cd", "share": share}
    return Release("fraud_model", number, "v1", "ab", "features", "f1", "features/f1", canary)


def good(random: np.random.Generator) -> float:
    return float(random.beta(0.2, 20))


def another_good_one(random: np.random.Generator) -> float:
    return float(random.beta(0.25, 22))


def a_little_higher(random: np.random.Generator) -> float:
    """Every score by a quarter in its odds: hardly one agrees, and every decision does."""
    return float(expit(logit(crowded(random)) + 0.25))


def crowded(random: np.random.Generator) -> float:
    """As scores of fraud are: nearly all of them within a few per cent of each other."""
    return float(random.normal(0.0016, 2e-5)) if random.random() < 0.99 else good(random)


def raising(random: np.random.Generator) -> float:
    raise RuntimeError("out of memory")


def fails_every_other(random: np.random.Generator) -> float:
    return raising(random) if random.random() < 0.5 else good(random)


def nan(random: np.random.Generator) -> float:
    return float("nan")


def above_one(random: np.random.Generator) -> float:
    return 1.7


def slow(random: np.random.Generator) -> float:
    time.sleep(0.025)
    return good(random)


def constant(random: np.random.Generator) -> float:
    return 0.9


def inverted(random: np.random.Generator) -> float:
    return 1 - good(random)


BAD = [raising, fails_every_other, nan, above_one, slow, constant, inverted]


def scorer(model: Model, random: np.random.Generator) -> Score:
    return lambda: np.array([model(random)])


def service(canary: Canary, challenger: Model, requests: int, *, seed: int = 0, champion: Model = good) -> Iterator:
    """Answers of a service, (score, who)."""
    random = np.random.default_rng(seed)
    for number in range(requests):
        scores, who = canary.answer(f"{seed}/{number}", scorer(champion, random), scorer(challenger, random))
        yield scores.item(), who


@pytest.mark.parametrize("challenger", BAD, ids=[m.__name__ for m in BAD])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_bad_challenger_goes_within_500_requests_each_of_which_is_answered(challenger: Model, number: int) -> None:
    canary = Canary(release(number=number), GUARDS)
    answers, gone_after = [], None
    for score, who in service(canary, challenger, 600, seed=number):
        answers.append((score, who))
        if canary.verdict and gone_after is None:
            gone_after = len(answers)
    assert gone_after is not None
    assert gone_after <= 500
    assert all(0 <= score <= 1 for score, _ in answers)
    assert {who for _, who in answers[gone_after:]} == {"champion"}
    assert "v2" in str(canary.verdict)


@pytest.mark.parametrize(
    ("challenger", "words"),
    [
        (raising, "answers of v2 failed, 0.0% of the champion's"),
        (nan, "answers of v2 gave invalid scores"),
        (slow, "answers of v2 were slow"),
        (constant, "scores of v2 are distributed otherwise: distance 1.00"),
    ],
    ids=["failing", "nan", "slow", "constant"],
)
def test_the_verdict_says_why(challenger: Model, words: str) -> None:
    canary = Canary(release(), GUARDS)
    for _ in service(canary, challenger, 500):
        pass
    assert words in str(canary.verdict)


@pytest.mark.parametrize("challenger", [good, another_good_one], ids=["alike", "slightly-different"])
def test_a_good_challenger_stays_and_answers_its_share(challenger: Model) -> None:
    verdicts, answered = [], 0
    for seed in range(10):
        canary = Canary(release(number=seed), Guards(slow=1))
        answered += sum(who == "challenger" for _, who in service(canary, challenger, 3_000, seed=seed))
        verdicts.append(canary.verdict)
    assert verdicts == [None] * 10
    assert 0.04 < answered / 30_000 < 0.06


def test_a_challenger_that_differs_a_little_in_every_score_stays() -> None:
    canary = Canary(release(), Guards(slow=1))
    for _ in service(canary, a_little_higher, 5_000, champion=crowded):
        pass
    assert canary.verdict is None


SCORES = st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.0125, 0.2, 0.5, 0.6, 1.0]), min_size=1, max_size=12)


@given(one=SCORES, other=SCORES)
def test_without_slack_the_distance_is_that_of_kolmogorov_and_smirnov(one: list[float], other: list[float]) -> None:
    apart = [abs((np.array(one) <= x).mean() - (np.array(other) <= x).mean()) for x in [*one, *other]]
    assert distance(one, other, 0) == pytest.approx(max(apart))


@given(one=SCORES, other=SCORES, slack=st.sampled_from([0.1, 0.5, 3.0]))
def test_the_slack_lets_scores_move(one: list[float], other: list[float], slack: float) -> None:
    """The largest lead that one has over the other in scores up to a limit, the other's limit moved up by the slack."""
    odds = [logit(np.clip(scores, 1e-9, 1 - 1e-9)) for scores in (one, other)]

    def most(first: np.ndarray, second: np.ndarray) -> float:
        return max((first <= limit).mean() - (second <= limit + slack).mean() for limit in first)

    assert distance(one, other, slack) == pytest.approx(max(most(*odds), most(*reversed(odds))))


def test_who_was_asked_is_told_until_the_verdict_with_what_came_of_it() -> None:
    canary, told = Canary(release(share=0.5), GUARDS), []
    random = np.random.default_rng(0)
    for number in range(200):
        canary.answer(str(number), scorer(good, random), scorer(raising, random), told.append)
    assert len(told) < 100
    assert [e.unit for e in told] == [str(n) for n in range(len(told))]
    assert {(e.variant, e.outcome, e.score is None) for e in told} == {
        ("champion", "answered", False), ("challenger", "failed", True),
    }  # fmt: skip
    assert {e.experiment for e in told} == {"fraud_model/3"}


def test_a_challenger_is_not_blamed_for_what_happens_to_both() -> None:
    canary = Canary(release(), Guards(slow=1))
    random = np.random.default_rng(0)
    failed = 0
    for number in range(2_000):
        model = fails_every_other
        try:
            canary.answer(str(number), scorer(model, random), scorer(model, random))
        except RuntimeError:
            failed += 1
    assert failed > 800
    assert canary.verdict is None


def test_an_error_of_the_champion_is_the_callers_to_handle() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        list(service(Canary(release(share=1e-9)), good, 1, champion=raising))


def test_many_threads_are_answered_and_counted() -> None:
    canary, numbers = Canary(release(), GUARDS), count()

    def work(seed: int) -> list[float]:
        random = np.random.default_rng(seed)
        return [
            canary.answer(str(next(numbers)), scorer(good, random), scorer(raising, random))[0].item()
            for _ in range(200)
        ]

    with ThreadPoolExecutor(4) as pool:
        answers = [score for scores in pool.map(work, range(4)) for score in scores]
    assert len(answers) == 800
    assert all(0 <= score <= 1 for score in answers)
    assert canary.verdict is not None


def test_rows_of_one_request_are_judged_together() -> None:
    canary = Canary(release(share=0.999999))
    for number in range(30):
        canary.observe("champion", 0.001, np.array([0.1, 0.2]))
        scores, who = canary.answer(str(number), lambda: np.array([0.1, 0.2]), lambda: np.array([0.1, np.nan]))
        assert (scores.tolist(), who) == ([0.1, 0.2], "champion")


@pytest.mark.parametrize("seed", range(5))
def test_a_unit_that_comes_again_and_again_does_not_speak_against_a_good_challenger(seed: int) -> None:
    """One till that gives all its requests one id, which falls to the challenger, beside a hundred others."""
    canary, random, told = Canary(release(number=seed), Guards(slow=1)), np.random.default_rng(seed), []
    till = next(unit for n in range(999) if canary.choose(unit := f"till-{n}") == "challenger")
    for number in range(500):
        canary.answer(till, lambda: np.array([0.0]), lambda: np.array([0.9]), told.append)
        canary.answer(str(number), scorer(good, random), scorer(good, random), told.append)
    assert canary.verdict is None
    assert sum(exposure.unit == till for exposure in told) == 500


def test_which_units_there_were_is_remembered_for_the_last_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convergence.serving.canary._UNITS", 10)
    canary = Canary(release())
    counted = [canary._is_new(str(n)) for n in (*range(15), 14, 5, 0, 6)]
    assert counted == [True] * 15 + [False, False, True, True]
    assert len(canary._units) == 10


def test_a_release_without_challenger_has_no_canary() -> None:
    with pytest.raises(ValueError, match="tries no challenger"):
        Canary(Release("fraud_model", 3, "v1", "ab", "features", "f1", "features/f1"))


def test_a_bad_challenger_is_rolled_back_in_the_log_and_the_champion_serves(lake: Lake) -> None:
    make(lake)
    log, span = AuditLog(lake.store), FRAUD.span(lake)
    promote(log, FRAUD.name, FRAUD.candidate(lake, "v0"), span, actor="anna", reason="first")
    tried = start_canary(log, FRAUD.name, FRAUD.candidate(lake, "v1"), 0.05, actor="anna", reason="try")
    canary = Canary(tried, Guards(slow=1))
    requests = 0
    for _ in service(canary, raising, 500):
        requests += 1
        if canary.verdict:
            end_canary(log, FRAUD.name, canary.challenger, actor="canary", reason=canary.verdict)
            break
    assert requests < 500
    now = newest(log, FRAUD.name)
    assert now is not None
    assert (now.model_version, now.canary) == ("v0", None)
    last = log.entries()[-1]
    assert (last.actor, last.action, last.detail["left"]) == ("canary", "canary_end", "v1")
    assert "answers of v1 failed" in last.detail["reason"]
    assert log.verify().fault is None
