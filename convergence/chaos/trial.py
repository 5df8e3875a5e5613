"""One trial: a load, a plan of strikes, real processes on a home of their own, and at the end the checker."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import polars as pl

from convergence.arrivals.topics import Topic
from convergence.chaos import nemesis
from convergence.chaos.checker import Evidence, Finding, check, counts, present
from convergence.chaos.children import Child, Home, until
from convergence.chaos.load import DATA, LATE, REJECTED, Load, described, load_of
from convergence.chaos.nemesis import CASES, Strike, strikes_of
from convergence.chaos.producing import Sending, fresh_topic
from convergence.chaos.witness import landed, read_topic
from convergence.errors import ServiceError
from convergence.services.kafka import KafkaBroker

_START = 90.0  # seconds that a process may take to be at work, on a busy machine
_DRAIN = 180.0  # seconds in which Dagster must have mended what was broken
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")  # as Dagster stores them


@dataclass
class Result:
    """What came of one trial. `told` says what was done and what happened, in order."""

    seed: int
    case: str
    sent: int = 0
    landed: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    seconds: float = 0.0
    failure: str = ""  # why the trial could not be carried out or the platform did not come back
    findings: list[Finding] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Nothing lost, nothing doubled, nothing torn, and nothing in the way of saying so."""
        return not (self.lost or self.doubled or self.torn or self.failure)


def run_trial(
    topic: Topic, history: pl.DataFrame, case: str, seed: int, *, broker: KafkaBroker, folder: Path
) -> Result:
    """Carry out the trial of a seed in `folder`, which is kept only if it did not pass."""
    result, began = Result(seed, case), time.monotonic()
    load, strikes = load_of(topic, history, CASES[case].mix, seed), strikes_of(case, seed)
    home = Home(folder, broker.bootstrap, topic.name, rows=load.batch_rows, every=load.every)
    if folder.exists():
        raise ServiceError(f"{folder} is there already, of a trial that did not pass: remove it, or use another folder")
    folder.mkdir(parents=True)
    trial = _Trial(topic, load, home, broker, result.told)
    try:
        evidence = trial.run(strikes)
        result.findings = check(evidence)
        result.sent, result.landed = evidence.log.height, trial.rows(evidence)
        for kind, number in counts(result.findings).items():
            setattr(result, kind, number)
    except Exception as error:
        result.failure = f"{type(error).__name__}: {error}"
    finally:
        home.end()
        broker.start()
        result.seconds = time.monotonic() - began
    if result.passed:
        shutil.rmtree(folder)
    else:
        record = {**asdict(result), "load": described(load), "strikes": [str(s) for s in strikes]}
        (folder / "trial.json").write_text(json.dumps(record, indent=1))
        load.planned.write_parquet(folder / "planned.parquet")
    return result


class _Trial:
    """The doing of it."""

    def __init__(self, topic: Topic, load: Load, home: Home, broker: KafkaBroker, told: list[str]) -> None:
        self.topic, self.load, self.home, self.broker, self._told = topic, load, home, broker, told
        self._began = time.monotonic()
        self._ends: dict[int, int] = {}
        self._table = home.lake / topic.table
        self.sending = Sending(load, broker.bootstrap, topic.name, home.folder)
        self._strikes: dict[str, Callable[[Strike], None]] = {
            nemesis.KILL_AT: partial(self._at_point, action="kill"),
            nemesis.FAIL: partial(self._at_point, action="fail"),
            nemesis.KILL: self._kill,
            nemesis.ZOMBIE: self._zombie,
            nemesis.PAIR: self._pair,
            nemesis.BROKER: self._broker,
            nemesis.WORKER: self._worker,
            nemesis.DAEMON: self._daemon,
            nemesis.TICK: self._daemon,
        }

    def run(self, strikes: list[Strike]) -> Evidence:
        """Send, strike, land the rest in peace, and gather the evidence."""
        fresh_topic(self.broker.bootstrap, self.topic.name, self.load.partitions)
        if any(strike.how in nemesis.DAGSTER for strike in strikes):
            self._land()  # nothing, but it sets up the home for Dagster
        self.sending.start()
        for strike in strikes:
            self._tell(str(strike))
            self._strikes[strike.how](strike)
        self._sent()
        self._tell("everything sent; land the rest in peace")
        self._land()
        log, _ = read_topic(self.broker.bootstrap, self.topic.name)
        self._tell(f"topic read: {log.height} messages")
        planned = self.load.planned.select("sequence", "value", "belongs")
        return Evidence(self.topic, planned, self.sending.ledger, log, self.home.lake)

    def rows(self, evidence: Evidence) -> int:
        """Rows in all three tables."""
        return sum(len(present(evidence.table(where))) for where in (DATA, LATE, REJECTED))

    def _land(self) -> None:
        """Land what is there, without faults."""
        lander = self.home.lander(bounded=True)
        if (code := lander.wait(120)) != 0:
            raise ServiceError(f"a lander in peace ended with {code}: see {lander.log}")

    def _sent(self) -> None:
        """Wait until everything is sent."""
        self.sending.join(300)
        if self.sending.is_alive() or self.sending.failure:
            raise ServiceError(f"sending failed: {self.sending.failure or 'it did not end in 300 s'}")

    def _tell(self, what: str) -> None:
        self._told.append(f"{time.monotonic() - self._began:5.1f} s  {what}")

    def _commits(self) -> int:
        return len(list((self._table / "_delta_log").glob("*.json")))

    def _all_landed(self) -> bool:
        """Whether everything is sent and has landed."""
        if self.sending.is_alive():
            return False
        if not self._ends:
            _, self._ends = read_topic(self.broker.bootstrap, self.topic.name)
        reached = {int(app.rpartition("/")[2]): at for app, at in landed(self._table).items() if "@" in app}
        return all(reached.get(partition, 0) >= end for partition, end in self._ends.items() if end)

    def _works(self, lander: Child, before: int) -> None:
        """Wait until the lander has committed something, or there is nothing left to do."""
        until(lambda: self._commits() > before or lander.code is not None or self._all_landed(), _START)

    def _at_point(self, strike: Strike, action: str) -> None:
        lander = self.home.lander(f"{strike.point}:{strike.turn}:{action}", bounded=strike.bounded)
        until(lambda: lander.code is not None or self._all_landed(), _START)
        expected = (1, 2) if action == "fail" else (-SIGKILL,)
        self._end(lander, "did not come to it; killed", *expected, *[0] * strike.bounded)

    def _kill(self, strike: Strike) -> None:
        before = self._commits()
        lander = self.home.lander(bounded=strike.bounded)
        self._works(lander, before)
        time.sleep(strike.seconds)
        self._end(lander, "killed", *[0] * strike.bounded)

    def _zombie(self, strike: Strike) -> None:
        zombie = self.home.lander(f"{strike.point}:{strike.turn}:stop")
        if not until(lambda: zombie.stopped() or zombie.code is not None or self._all_landed(), _START, every=0.2):
            zombie.send(SIGSTOP)
        before = self._commits()
        other = self.home.lander()
        self._works(other, before)
        time.sleep(strike.seconds)
        self._tell(f"  the other landed {self._commits() - before} commits; the zombie wakes")
        if zombie.code is not None:
            self._tell(f"  ... it had ended with {zombie.code}")
        zombie.send(SIGCONT)
        time.sleep(max(1.0, strike.seconds))
        self._stop(zombie, other)

    def _pair(self, strike: Strike) -> None:
        before = self._commits()
        landers = [self.home.lander(), self.home.lander()]
        self._works(landers[1], before)
        time.sleep(strike.seconds)
        self._stop(*landers)

    def _broker(self, strike: Strike) -> None:
        before = self._commits()
        lander = self.home.lander()
        self._works(lander, before)
        time.sleep(strike.seconds)
        self.broker.kill()
        time.sleep(0.5)
        self.broker.start()
        time.sleep(1.0)
        self._stop(lander)

    def _stop(self, *landers: Child) -> None:
        """End landers in good order."""
        for lander in landers:
            lander.send(SIGTERM)
        for lander in landers:
            lander.wait(_START)
            self._end(lander, "does not end; killed", 0, -SIGTERM)  # it may not have come to where it takes signals

    def _end(self, lander: Child, alive: str, *allowed: int) -> None:
        """Kill a lander that lives. Raises ServiceError for one that has ended in another way than it should."""
        code = lander.code
        self._tell(f"  lander: {alive if code is None else f'ended with {code}'}")
        if code not in (None, *allowed):
            raise ServiceError(f"a lander ended with {code}: see {lander.log}")
        lander.kill()

    def _worker(self, strike: Strike) -> None:
        """A run of the arrival sensor dies at a point; Dagster has to notice, and to run it again."""
        mark = self.home.folder / "killed"
        daemon = self.home.daemon(f"{strike.point}:{strike.turn}:kill:{mark}")
        if not until(mark.exists, _START):
            raise ServiceError(f"no run came to {strike.point} in {_START:g} s: see {daemon.log}")
        self._tell("  a run worker was killed")
        self._drained(daemon)
        failed = [run for run, status, _ in self.home.runs() if status == "FAILURE"]
        if not failed:
            raise ServiceError("a run worker was killed, and Dagster knows of no run that failed")
        daemon.kill()

    def _daemon(self, strike: Strike) -> None:
        """The daemon dies when it has made a run; the one that follows has to finish what there is, once."""
        daemon = self.home.daemon()
        if not until(lambda: bool(self.home.runs()), _START, every=0.005):
            raise ServiceError(f"the daemon started no run in {_START:g} s: see {daemon.log}")
        time.sleep(strike.seconds)
        daemon.kill_alone()
        self._tell(f"  the daemon was killed; runs: {[status for _, status, _ in self.home.runs()]}")
        time.sleep(1.0)
        self._drained(other := self.home.daemon())
        other.kill()

    def _drained(self, daemon: Child) -> None:
        """Wait until Dagster has landed everything by itself, with each run request answered once."""
        self._sent()
        began = time.monotonic()
        if not until(self._all_landed, _DRAIN, every=0.5):
            raise ServiceError(f"Dagster has not landed everything in {_DRAIN:g} s: see {daemon.log}")
        self._tell(f"  Dagster landed everything {time.monotonic() - began:.1f} s after the last message")
        if not until(lambda: not self._landings(), _DRAIN, every=0.5):
            raise ServiceError(f"landings that do not end: {', '.join(self._landings())}: see {daemon.log}")
        self._tell(f"  and all landings had ended {time.monotonic() - began:.1f} s after it")
        runs = [tags for _, _, tags in self.home.runs() if "dagster/parent_run_id" not in tags]
        twice = [key for key, number in Counter(tags.get("dagster/run_key") for tags in runs).items() if number > 1]
        if twice := [key for key in twice if key]:
            raise ServiceError(f"run requests were answered twice: {', '.join(twice)}")

    def _landings(self) -> list[str]:
        """Runs of the arrival sensor that have not ended."""
        runs = self.home.runs()
        return [f"{r} {status}" for r, status, tags in runs if "convergence/topic" in tags and status not in _ENDED]
