"""Reading states from the online store: 250 values of 1 to 100 entities, beside a ping and beside a hash of fields."""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import Row, Section
from convergence.features.online import OnlineView
from convergence.features.online_store import OnlineStore
from convergence.features.online_updates import states_of
from convergence.features.views import Aggregate, FeatureView
from convergence.services.redis import connect, stop_embedded

TITLE = "Online features"
VALUES, ENTITIES = 250, 5_000
NAMES = [f"value_{n}" for n in range(VALUES)]
VIEW = FeatureView(
    "wide",
    description="A vector of values an entity",
    source="rows",
    sequence="id",
    aggregates=tuple(
        Aggregate(f"sum_{name}", description="The value", entity=("customer",), function="sum", column=name,
                  window=timedelta(days=1), resolution=0.01)
        for name in NAMES
    ),
)  # fmt: skip


def rows() -> pl.DataFrame:
    """One row of VALUES amounts for each entity."""
    at = datetime(2024, 1, 1, tzinfo=UTC)
    keys = {"customer": np.arange(ENTITIES), "id": np.arange(ENTITIES), "event_time": [at] * ENTITIES}
    values = np.round(np.random.default_rng(0).lognormal(3, 1, (ENTITIES, VALUES)), 2)
    frame = pl.DataFrame(keys).with_columns(pl.col("event_time").cast(pl.Datetime("us", "UTC")))
    return frame.with_columns(pl.col("event_time").alias("arrived_at")).hstack(pl.DataFrame(values, schema=NAMES))


def in_turns(times: int, *works: Callable[[], object]) -> list[np.ndarray]:
    """Microseconds of each call of each work, taken in turns."""
    took = np.empty((len(works), times))
    for turn in range(-50, times):
        for place, work in enumerate(works):
            began = time.perf_counter()
            work()
            took[place, turn] = (time.perf_counter() - began) * 1e6
    return list(took)


def section(*, quick: bool) -> Section:
    """Reads in turns with their references, and the time to fill."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        redis = connect(None, Path(scratch))
        frame = rows()
        online = OnlineView(VIEW, {"rows": frame.schema})
        store = OnlineStore(redis, online.layout)
        began = time.perf_counter()
        about = {"table": "rows", "generation": 1, "version": 0, "newest": 0, "filled_at": ""}
        namespace = store.fill(states_of(online, {"rows": frame}, 0, 0), floor=0, **about)
        packed = time.perf_counter() - began
        values = frame.select(NAMES).to_numpy()
        began = time.perf_counter()
        for start in range(0, ENTITIES, 1_000):
            with redis.pipeline(transaction=False) as pipe:
                for n in range(start, start + 1_000):
                    pipe.hset(f"hash:{n}", mapping=dict(zip(NAMES, values[n].tolist(), strict=True)))
                pipe.execute()
        hashed = time.perf_counter() - began
        found = [_read(store, namespace, n, times=300 if quick else 2_000) for n in (1, 10, 50, 100)]
        redis.close()
        stop_embedded(Path(scratch))
    filled = Row(
        f"fill {ENTITIES:,} entities", f"{ENTITIES / packed:,.0f} entities/s", f"{ENTITIES / hashed:,.0f} entities/s",
        f"{packed / hashed:.2f}", "",
    )  # fmt: skip
    return Section(
        TITLE,
        f"Ours: one get of the states of some entities, each one row of {VALUES} amounts, and their numbers as arrays. "
        "Reference: the same values as fields of a Redis hash an entity, all hashes in one pipeline, parsed to floats; "
        "and a ping, below which no read can be. All in turns, over the embedded server's socket.",
        [*(row for rows in found for row in rows), filled],
    )


def _read(store: OnlineStore, namespace: str, entities: int, times: int) -> list[Row]:
    redis, random = store.redis, np.random.default_rng(entities)

    def ours() -> object:
        keys = [(("customer",), (int(n),)) for n in random.integers(0, ENTITIES, entities)]
        states = store.read(namespace, keys).states
        return [state.rows["rows"][3:, 0] * 0.01 for state in states.values()]

    def hashes() -> object:
        with redis.pipeline(transaction=False) as pipe:
            for n in random.integers(0, ENTITIES, entities):
                pipe.hmget(f"hash:{n}", NAMES)
            return [np.array([float(value) for value in one]) for one in pipe.execute()]

    read, ping, hashed = in_turns(times // (1 + entities // 20), ours, redis.ping, hashes)
    ratios = [np.median(read) / np.median(other) for other in (hashed, ping)]
    goal, met = ("≤ 1.5", bool(ratios[1] <= 1.5)) if entities == 1 else ("", None)
    return [
        Row(f"{entities} entities, beside hashes", _shown(read), _shown(hashed), f"{ratios[0]:.2f}", ""),
        Row(f"{entities} entities, beside a ping", _shown(read), _shown(ping), f"{ratios[1]:.2f}", "", goal, met),
    ]


def _shown(microseconds: np.ndarray) -> str:
    return f"p50 {np.median(microseconds):.0f} us, p99 {np.quantile(microseconds, 0.99):.0f} us"
