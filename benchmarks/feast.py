"""Reading and loading 250 values an entity beside Feast's Python SDK, on the same Redis and over the same socket.

Feast runs in a process of its own, because it brings pandas, and is asked in turns with ours.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measure import Row, Section
from benchmarks.online import ENTITIES, NAMES, VALUES, VIEW, rows
from convergence.errors import ServiceError
from convergence.features.online import OnlineView
from convergence.features.online_store import OnlineStore
from convergence.features.online_updates import states_of
from convergence.services.redis import connect, stop_embedded

COMPANIONS = Path(__file__).parents[1] / ".venv" / "companions" / "bin" / "python"
ASIDE = Path(__file__).with_name("feast_side.py")
WARM = 20  # untimed turns
LOWER = {1: 3, 100: 50}  # entities: how many times lower the median is to be
FASTER_LOAD = 15
CENT = 0.01


class Feast:
    """A Feast store in another process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, question: object) -> Any:
        """The answer to one line. Raises ServiceError where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        if line := self._process.stdout.readline():
            return json.loads(line)
        raise ServiceError(f"Feast's process ended with {self._process.wait()}; what it said is above")


@contextmanager
def feast(python: Path = COMPANIONS) -> Iterator[Feast]:
    """Feast's process, meanwhile. Raises ServiceError where its Python is not there."""
    if not python.is_file():
        raise ServiceError(f"no Python with Feast at {python}: `make bench` makes it")
    # -P: the folder of the script has a module of Feast's name
    command = [str(python), "-P", "-W", "ignore", str(ASIDE)]
    quiet = os.environ | {"FEAST_USAGE": "False", "DO_NOT_TRACK": "1", "TQDM_DISABLE": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=quiet, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Feast(process)
        finally:
            process.kill()


class Ours:
    """The same values as states of our online store."""

    def __init__(self, redis: Any, rows: Path, view: Any = VIEW) -> None:
        frame = pl.read_parquet(rows)
        self.online = OnlineView(view, {"rows": frame.schema})
        self.store = OnlineStore(redis, self.online.layout)
        about = {"table": "rows", "generation": 1, "version": 0, "newest": 0, "filled_at": ""}
        self.namespace = self.store.fill(states_of(self.online, {"rows": frame}, 0, 0), floor=0, **about)
        self.at = int(frame["event_time"].to_physical()[0]) + 1

    def values(self, customers: Sequence[int]) -> np.ndarray:
        """Stored values, shape (values, customers)."""
        found = self.store.read(self.namespace, [(("customer",), (number,)) for number in customers]).states
        return np.hstack([state.rows["rows"][3:] for state in found.values()]) * CENT

    def features(self, customers: Sequence[int]) -> np.ndarray:
        """The view's features of a new row of each customer with amounts of 0, shape (customers, features)."""
        asked = [self._row(number) for number in customers]
        keys = [key for row in asked for key in self.online.keys(row)]
        return self.online.vectors(asked, self.store.read(self.namespace, keys).states)

    def _row(self, customer: int) -> dict[str, Any]:
        amounts = dict.fromkeys(self.online.inputs, 0.0)
        return amounts | {"customer": customer, "id": -1, "event_time": self.at, "arrived_at": self.at}


def in_turns(ours: Ours, other: Feast, customers: int, times: int, held: int = ENTITIES) -> np.ndarray:
    """Microseconds of each read, of some of the customers held: stored values, computed, Feast; shape (3, times).

    Raises AssertionError where the three do not read the same values.
    """
    random, took = np.random.default_rng(customers), np.empty((3, WARM + times))
    for turn in range(WARM + times):
        asked = random.choice(held, customers, replace=False).tolist()
        sums = []
        for place, read in enumerate((ours.values, ours.features)):
            began = time.perf_counter()
            values = read(asked)
            took[place, turn] = (time.perf_counter() - began) * 1e6
            sums.append(values.sum())
        took[2, turn], theirs = other.ask(asked)
        assert np.allclose(sums, theirs, rtol=1e-9), f"read {sums}, Feast read {theirs}"
    return took[:, WARM:]


def section(*, quick: bool) -> Section:
    """Reads in turns with Feast's, and the time to load."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        redis = connect(None, Path(scratch))
        file = Path(scratch) / "rows.parquet"
        rows().write_parquet(file)
        socket = redis.connection_pool.connection_kwargs["path"]
        with feast() as other:  # ends before the server, which lives as long as somebody is connected
            theirs = other.ask({"socket": socket, "rows": str(file), "names": NAMES, "folder": scratch})
            began = time.perf_counter()
            ours = Ours(redis, file)
            mine = time.perf_counter() - began
            found = []
            for customers in (1, 10, 50, 100):
                took = in_turns(ours, other, customers, (100 if quick else 1_000) // (1 + customers // 10))
                found += [
                    beside(f"{customers} x {VALUES} stored values", took[0], took[2], LOWER.get(customers)),
                    beside(f"{customers} x {VALUES} computed as of now", took[1], took[2]),
                ]
        redis.close()
        stop_embedded(Path(scratch))
    return Section(
        f"Online features beside Feast, {VALUES} values an entity",
        "Ours, stored values: one get of the packed states of some entities, each one row of "
        f"{VALUES} amounts, as arrays of numbers. Ours, computed as of now: the same read, then {VALUES} sums over a "
        "day's window of each entity, by which a score is served; Feast has no equal and reads what was computed "
        "before. Reference: Feast's `get_online_features(...).to_dict()` of a view with the same values, its default "
        "Redis client with hiredis. One server, one socket, in turns, the values compared each time. Load: from one "
        "Parquet file to Redis, ours and `materialize`.",
        [*found, load(mine, theirs)],
    )


def beside(case: str, ours: np.ndarray, theirs: np.ndarray, lower: int | None = None) -> Row:
    """Microseconds of our reads beside Feast's; the goal, if any, is how many times lower the median is."""
    ratio = float(np.median(ours) / np.median(theirs))
    tails = float(np.quantile(ours, 0.99) / np.quantile(theirs, 0.99))
    goal, met = (f"≤ 1/{lower}", ratio * lower <= 1) if lower else ("", None)
    return Row(case, _shown(ours), _shown(theirs), f"{ratio:.2g} (p99 {tails:.2g})", "", goal, met)


def load(ours: float, theirs: float, entities: int = ENTITIES) -> Row:
    """Seconds to load all entities, as entities a second."""
    return Row(
        f"load {entities:,} entities", f"{entities / ours:,.0f} entities/s", f"{entities / theirs:,.0f} entities/s",
        f"{ours / theirs:.2g}", "", f"≤ 1/{FASTER_LOAD}", theirs / ours >= FASTER_LOAD,
    )  # fmt: skip


def _shown(microseconds: np.ndarray) -> str:
    return f"p50 {np.median(microseconds):.0f} us, p99 {np.quantile(microseconds, 0.99):.0f} us"
