"""What goes wrong in a trial: a plan of strikes, a pure function of case and seed. Their timing is left to chance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from convergence.chaos.load import Mix, thrice, transactions

# Named points of convergence.faults. The first are passed by landing alone, the others by whoever uses the lake.
LANDING = ("before_decode", "before_rejected", "before_late", "before_data", "after_data")
POINTS = (*LANDING, "open", "files_written", "after_commit")

KILL, KILL_AT, FAIL = "kill the lander", "kill the lander at a point", "an I/O error in the lander"
ZOMBIE, PAIR, BROKER = "a zombie lander", "two landers", "kill the broker"
WORKER, DAEMON, TICK = "kill the run worker", "kill the daemon", "kill the daemon before its cursor is stored"
DAGSTER = {WORKER, DAEMON, TICK}  # need Dagster's daemon


@dataclass(frozen=True)
class Strike:
    """One thing that goes wrong. `point` and `turn`: at the named point, the n-th time; `seconds`: after so long."""

    how: str
    point: str = ""
    turn: int = 1
    seconds: float = 0.0
    bounded: bool = False  # the lander is one that ends when it has caught up

    def __str__(self) -> str:
        """For the trial's record."""
        where = f"{self.point} x{self.turn}" if self.point else f"after {self.seconds:.1f} s"
        return f"{self.how}, {where}{', until caught up' if self.bounded else ''}"


@dataclass(frozen=True)
class Case:
    """A line of the fault list: how often it is drawn, what it sends, and what it breaks."""

    title: str
    weight: int
    strikes: Callable[[np.random.Generator], list[Strike]]
    mix: Mix = field(default_factory=Mix)


def case_of(seed: int) -> str:
    """The case that a seed stands for."""
    weights = np.array([case.weight for case in CASES.values()])
    return str(np.random.default_rng([seed, 0]).choice(list(CASES), p=weights / weights.sum()))


def strikes_of(case: str, seed: int) -> list[Strike]:
    """The plan of a trial: equal arguments give equal plans."""
    return CASES[case].strikes(np.random.default_rng([seed, 2]))


def _some(draw: Callable[[np.random.Generator], Strike], least: int, most: int) -> Callable[..., list[Strike]]:
    return lambda rng: [draw(rng) for _ in range(rng.integers(least, most, endpoint=True))]


def _kill(rng: np.random.Generator) -> Strike:
    if rng.random() < 0.3:
        return Strike(KILL, seconds=float(rng.uniform(0, 0.8)), bounded=bool(rng.random() < 0.5))
    return Strike(KILL_AT, str(rng.choice(POINTS)), int(rng.integers(1, 4)), bounded=bool(rng.random() < 0.3))


def _late_kill(rng: np.random.Generator) -> Strike:
    """When the lander has begun to merge its small files, which it does after a hundred commits."""
    point = str(rng.choice([*LANDING, "files_written", "after_commit"]))
    passes = 3 if point not in LANDING else 1  # of a landing in up to three tables
    return Strike(KILL_AT, point, passes * int(rng.integers(100, 115)), bounded=bool(rng.random() < 0.7))


def _fail(rng: np.random.Generator) -> Strike:
    return Strike(FAIL, str(rng.choice(POINTS)), int(rng.integers(1, 4)), bounded=bool(rng.random() < 0.3))


def _zombie(rng: np.random.Generator) -> Strike:
    point = str(rng.choice([*LANDING, "files_written"]))  # with a batch in its hands
    return Strike(ZOMBIE, point, int(rng.integers(1, 4)), float(rng.uniform(0.2, 1.5)))


def _pair(rng: np.random.Generator) -> Strike:
    return Strike(PAIR, seconds=float(rng.uniform(1, 3)))


def _broker(rng: np.random.Generator) -> Strike:
    return Strike(BROKER, seconds=float(rng.uniform(0, 1)))


def _worker(rng: np.random.Generator) -> Strike:
    return Strike(WORKER, str(rng.choice(LANDING)), 1)


def _daemon(rng: np.random.Generator) -> Strike:
    return Strike(DAEMON, seconds=float(rng.uniform(0, 3)))


def _any(rng: np.random.Generator) -> Strike:
    draws = (_kill, _kill, _fail, _zombie, _pair, _broker)
    return draws[int(rng.integers(len(draws)))](rng)


CASES: Mapping[str, Case] = {
    "R-01": Case("lander killed at named points and at random moments", 20, _some(_kill, 1, 3)),
    "R-02": Case("daemon killed between commit and cursor", 3, lambda _: [Strike(TICK)]),
    "R-03": Case("messages sent three times", 6, _some(_kill, 1, 1), Mix(duplicates=0.3, sends=thrice)),
    "R-04": Case("broker killed and restarted", 12, _some(_broker, 1, 2)),
    "R-05": Case("zombie lander, two landers at once", 16, lambda rng: [_zombie(rng), _pair(rng)]),
    "R-06": Case("late, early and out-of-order messages", 6, _some(_kill, 1, 1), Mix(late=0.6, edges=True)),
    "R-07": Case("poison messages", 6, _some(_kill, 1, 1), Mix(poison=0.5, edges=True)),
    "R-10": Case("aborted transactions", 8, _some(_kill, 1, 1), Mix(sends=transactions)),
    "R-14": Case(
        "lander killed while small files are merged",
        5,
        _some(_late_kill, 1, 1),
        Mix(messages=(900, 1400), batch_rows=(5, 8)),
    ),
    "R-15": Case("input/output errors", 8, _some(_fail, 1, 2)),
    "R-29": Case("run worker killed", 4, _some(_worker, 1, 1)),
    "R-30": Case("daemon killed", 4, _some(_daemon, 1, 1)),
    "mixed": Case("any of these, one after the other", 7, _some(_any, 2, 4), Mix(0.3, 0.3, 0.2, edges=True)),
}
