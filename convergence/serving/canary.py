"""A challenger answers a share of the requests until its guards speak against it; every request is answered.

Four guards: failures, invalid scores and slow answers, each more frequent than the champion's by a sequential test, and
scores of another distribution. Each raises a false alarm with probability 0.001 at most over the whole life of a
canary, however often it is looked at.
"""

import math
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convergence.models.releases import Release
from convergence.serving.assignment import Exposure, Outcome, assign
from convergence.serving.sequential import SequentialTest

Variant = Literal["champion", "challenger"]
Score = Callable[[], NDArray[np.float64]]  # scores of a request's rows
Exposed = Callable[[Exposure], None]

SLACK = 0.5  # log odds
_ALARM = 0.001
_FIRST_LOOK = 13  # scores of the challenger, with fewer no distance is beyond chance; then at twice as many, and so on
_KEPT = 2_000  # scores of each variant, drawn evenly from all that there were
_UNITS = 100_000  # last ones, of which one that comes again is known


@dataclass(frozen=True)
class Guards:
    """What a challenger may do; the first three relative to the champion as well."""

    slow: float = 0.01  # seconds; an answer that takes longer counts as slow
    shift: float = 0.25  # largest distance of the scores' distributions, see `distance`


class Canary:
    """The canary of one release, in one server; threads may share it.

    A unit is one request: each is assigned independently of every other, which the guards rely on. One that comes again
    is assigned as before, so it is answered and not counted again.
    """

    def __init__(self, release: Release, guards: Guards | None = None) -> None:
        if release.canary is None:
            raise ValueError(f"release {release.number} of {release.name} tries no challenger")
        self.challenger: str = release.canary["model_version"]
        self.shares = {"challenger": release.canary["share"], "champion": 1 - release.canary["share"]}
        self.experiment = f"{release.name}/{release.number}"
        self.guards = guards or Guards()
        share = self.shares["challenger"]
        self._tests = {name: SequentialTest(share) for name in ("failed", "gave invalid scores", "were slow")}
        self._scores: dict[Variant, _Sample] = {"champion": _Sample(), "challenger": _Sample()}
        self._next_look, self._alarm = _FIRST_LOOK, _ALARM
        self._verdict: str | None = None
        self._units: OrderedDict[int, None] = OrderedDict()  # hashes
        self._lock = threading.Lock()

    @property
    def verdict(self) -> str | None:
        """Why the challenger has to go, in words; None while nothing speaks against it."""
        return self._verdict

    def choose(self, unit: str) -> Variant:
        """Who answers for a unit; the champion for all once there is a verdict."""
        if self._verdict:
            return "champion"
        return "challenger" if assign(unit, self.shares, salt=self.experiment) == "challenger" else "champion"

    def observe(
        self,
        variant: Variant,
        seconds: float,
        score: float | NDArray[np.float64] | None = None,
        *,
        error: BaseException | None = None,
    ) -> None:
        """Record one answer of a variant: its score or those of its rows, or the error that it ended with."""
        treated = variant == "challenger"
        valid = score is not None and are_probabilities(score)
        with self._lock:
            events = (error is not None, error is None and not valid, seconds > self.guards.slow)
            for test, event in zip(self._tests.values(), events, strict=True):
                test.observe(treated=treated, event=event)
            if score is not None and valid:
                self._scores[variant].add(float(np.ravel(score)[0]))  # rows of one request are not independent
            if treated and self._verdict is None:
                self._verdict = self._worse() or self._shifted()

    def answer(
        self, unit: str, champion: Score, challenger: Score, exposed: Exposed | None = None
    ) -> tuple[NDArray[np.float64], Variant]:
        """A request's scores and who gave them: the champion whenever the challenger fails or gives no probabilities.

        `exposed` is told who was asked and what came of it, while the trial goes on. Raises what the champion raises.
        """
        if self._verdict:
            return champion(), "champion"
        if self.choose(unit) == "champion":
            return self._observed(unit, "champion", champion, exposed), "champion"
        try:
            scores = self._observed(unit, "challenger", challenger, exposed)
        except Exception:  # whatever it is, the champion answers
            return champion(), "champion"
        return (scores, "challenger") if are_probabilities(scores) else (champion(), "champion")

    def _observed(self, unit: str, variant: Variant, answer: Score, exposed: Exposed | None) -> NDArray[np.float64]:
        scores, failure = None, None
        began = time.perf_counter()
        try:
            scores = answer()
            return scores
        except Exception as error:
            failure = error
            raise
        finally:
            seconds = time.perf_counter() - began
            if self._is_new(unit):
                self.observe(variant, seconds, scores, error=failure)
            if exposed:
                exposed(self._exposure(unit, variant, seconds, scores))

    def _is_new(self, unit: str) -> bool:
        with self._lock:
            key = hash(unit)
            new = key not in self._units
            self._units[key] = None
            self._units.move_to_end(key)
            if len(self._units) > _UNITS:
                self._units.popitem(last=False)
            return new

    def _exposure(self, unit: str, variant: Variant, seconds: float, scores: NDArray[np.float64] | None) -> Exposure:
        valid = scores is not None and are_probabilities(scores)
        outcome: Outcome = "failed" if scores is None else "answered" if valid else "invalid"
        first = float(np.ravel(scores)[0]) if scores is not None and valid else None
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return Exposure(self.experiment, unit, variant, at, self.shares, outcome, seconds, first)

    def _worse(self) -> str | None:
        for name, test in self._tests.items():
            champion, challenger = test.rates
            if test.p_value <= _ALARM and challenger > champion:
                return (
                    f"{test.events[1]} of {test.units[1]} answers of {self.challenger} {name}, {champion:.1%} of the "
                    f"champion's (p {test.p_value:.1e})"
                )
        return None

    def _shifted(self) -> str | None:
        """The guard of the distribution, by the Dvoretzky-Kiefer-Wolfowitz inequality on either side."""
        mine, theirs = self._scores["challenger"], self._scores["champion"]
        if mine.seen < self._next_look or not theirs.seen:
            return None
        self._next_look, self._alarm = 2 * mine.seen, self._alarm / 2  # all looks together: _ALARM
        shares = ((mine, 0.9 * self._alarm), (theirs, 0.1 * self._alarm))  # where more was seen, less is left to chance
        by_chance = sum(math.sqrt(math.log(2 / alarm) / (2 * len(sample.kept))) for sample, alarm in shares)
        apart = distance(mine.kept, theirs.kept)
        if apart - by_chance <= self.guards.shift:
            return None
        return (
            f"scores of {self.challenger} are distributed otherwise: distance {apart:.2f} "
            f"after {mine.seen} answers, {self.guards.shift:.2f} allowed"
        )


class _Sample:
    """Scores drawn evenly from all that were seen, so that both variants are compared over the same time."""

    def __init__(self) -> None:
        self.kept: list[float] = []
        self.seen = 0
        self._random = random.Random(0)

    def add(self, score: float) -> None:
        self.seen += 1
        if len(self.kept) < _KEPT:
            self.kept.append(score)
        elif (place := self._random.randrange(self.seen)) < _KEPT:
            self.kept[place] = score


def are_probabilities(score: float | NDArray[np.float64]) -> bool:
    """Whether every score is a number in [0, 1]; NaN is none, and there must be one."""
    scores = np.ravel(score)
    return bool(scores.size and ((scores >= 0) & (scores <= 1)).all())


def distance(one: ArrayLike, other: ArrayLike, slack: float = SLACK) -> float:
    """Kolmogorov-Smirnov distance of two samples of scores, in whose log odds differences up to `slack` do not count.

    Where most cases are alike, models that are equally good differ in the third digit of nearly every score: the bare
    distance of two weekly fraud models is up to 0.34, with this slack 0.05.
    """
    first, second = (np.sort(_log_odds(np.asarray(scores, np.float64))) for scores in (one, other))
    return float(max(_ahead(first, second, slack), _ahead(second, first, slack)))


def _ahead(one: NDArray[np.float64], other: NDArray[np.float64], slack: float) -> float:
    """By how much the distribution of `one` is above that of `other` at most, `slack` further up."""
    there = np.searchsorted(one, one, side="right") / len(one)
    beyond = np.searchsorted(other, one + slack, side="right") / len(other)
    return (there - beyond).max()


def _log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(scores, 1e-9, 1 - 1e-9)
    return np.log(inside / (1 - inside))
