"""Keeps online states in step with what has landed: a fill from history, then only what each new commit touches.

The consumed offsets are the lake's: a version of the raw table says, partition by partition, how far it is read. So an
update that is repeated changes nothing, and what was served can be computed again from that very version.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
from deltalake import DeltaTable

from convergence.errors import TableMissing
from convergence.features.keys import Int64Array, microseconds_of
from convergence.features.online import OnlineView
from convergence.features.online_state import DAY, Entity, EntityState, Key
from convergence.features.online_store import Meta, OnlineStore, OnlineStoreError
from convergence.features.views import MICROSECOND
from convergence.lake.tables import Commit, Lake, rows_of

_AT_ONCE = 1_000  # states in one get


class Rewritten(OnlineStoreError):
    """The table was changed in other ways than by landing, so its states cannot be brought up to date."""


@dataclass(frozen=True)
class OnlineFeatures:
    """A view served online, and the raw table that all its sources are derived from.

    `derive` gives the rows of each source from all raw rows of some days; each day stands alone. The raw table has the
    key columns and the sequence of the view under the same names. `slack` is how far behind the newest event a row may
    lie and still be answered exactly.
    """

    online: OnlineView
    table: str
    derive: Mapping[str, Callable[[pl.LazyFrame], pl.LazyFrame]]
    slack: timedelta

    @property
    def reach(self) -> int:
        """Microseconds that the longest window looks back."""
        return max(self.online.layout.reach.values())

    def days_before(self, floor: int, newest: int) -> list[str]:
        """The days whose rows answer event times from `floor` to `newest`, in microseconds."""
        first, last = (floor - self.reach) // DAY, newest // DAY
        return [str(date(1970, 1, 1) + timedelta(days=n)) for n in range(first, last + 1)]


def fill(lake: Lake, features: OnlineFeatures, store: OnlineStore) -> str:
    """Fill a new namespace from all that has landed, then point to it; returns the namespace.

    Raises:
        TableMissing: nothing has landed.
        OnlineStoreError: the store does not answer.
    """
    raw = _opened(lake, features)
    latest = pl.scan_delta(raw).select(pl.col("event_time").max()).collect().item()
    if latest is None:
        raise TableMissing(f"{features.table} is empty: land something first")
    newest = microseconds_of(latest)
    floor = newest - features.slack // MICROSECOND
    rows = rows_of(raw, features.days_before(floor, newest))
    frames = {source: derive(rows).collect() for source, derive in features.derive.items()}
    return store.fill(
        states_of(features.online, frames, floor, raw.version()),
        table=features.table,
        generation=lake.generation(features.table),
        version=raw.version(),
        floor=floor,
        newest=newest,
        filled_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def states_of(
    online: OnlineView, frames: Mapping[str, pl.DataFrame], floor: int, version: int
) -> Iterator[tuple[Entity, Key, EntityState]]:
    """The states of all entities in the frames of the view's sources."""
    layout = online.layout
    for entity in layout.entities:
        by_key: dict[Key, dict[str, Int64Array]] = {}
        for source in layout.sources(entity):
            for key, rows in layout.matrices(entity, source, frames[source]):
                by_key.setdefault(key, {})[source] = rows
        for key, new in by_key.items():
            yield entity, key, layout.changed(entity, None, new, (), floor=floor, version=version)


def update(lake: Lake, features: OnlineFeatures, store: OnlineStore, namespace: str) -> int:
    """Apply to a namespace what has landed since its version; how many rows that were.

    Raises:
        Rewritten: history is another now; fill anew.
        OnlineStoreError: the store does not answer, or the namespace is gone: fill anew.
    """
    meta = store.read(namespace, ()).meta
    raw = _opened(lake, features)
    if lake.generation(features.table) != meta.generation or raw.version() < meta.version:
        raise Rewritten(f"{features.table} is in another generation now: materialize the online state anew")
    commits = [c for c in lake.commits(features.table, meta.version) if c.version <= raw.version()]
    if not commits:
        return 0
    versions = _touched(raw, commits, features)
    newest = max([meta.newest, *map(microseconds_of, versions["event_time"])])
    after = replace(meta, version=raw.version(), newest=newest, floor=newest - features.slack // MICROSECOND)
    wanted = [
        (entity, key)
        for entity in features.online.layout.entities
        for key in versions.select(entity).drop_nulls().unique(maintain_order=True).iter_rows()
    ]
    held: dict[tuple[Entity, Key], EntityState] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        held |= store.read(namespace, wanted[start : start + _AT_ONCE]).states
    changed = list(_changed(features, wanted, held, versions, after))
    after = replace(after, entities=after.entities + len(wanted) - len(held))
    return versions.height if store.change(namespace, changed, meta, after) else 0


def _changed(
    features: OnlineFeatures,
    wanted: Iterable[tuple[Entity, Key]],
    held: Mapping[tuple[Entity, Key], EntityState],
    versions: pl.DataFrame,
    after: Meta,
) -> Iterator[tuple[Entity, Key, EntityState]]:
    layout = features.online.layout
    frames = {source: derive(versions.lazy()).collect() for source, derive in features.derive.items()}
    days = versions.select(pl.col("event_time").dt.epoch("us") // DAY, layout.view.sequence)
    gone = set(days.iter_rows())
    new: dict[tuple[Entity, Key], dict[str, Int64Array]] = {}
    for entity, source in layout.columns:
        for key, rows in layout.matrices(entity, source, frames[source]):
            new.setdefault((entity, key), {})[source] = rows
    for one in wanted:
        rows = new.get(one, {})
        yield *one, layout.changed(one[0], held.get(one), rows, gone, floor=after.floor, version=after.version)


def keep_up(lake: Lake, features: OnlineFeatures, store: OnlineStore) -> tuple[str, int]:
    """Bring the store in step with the lake, once; the namespace that counts, and the rows applied to it.

    Where nothing was filled, the store lost what it had, or history was rewritten, a new namespace is filled, and the
    last one is served until it is whole. Raises OnlineStoreError where the store does not answer.
    """
    namespace = store.newest()
    if namespace is not None and store.holds(namespace):
        try:
            return namespace, update(lake, features, store, namespace)
        except Rewritten:
            pass
    return fill(lake, features, store), 0


def _opened(lake: Lake, features: OnlineFeatures) -> DeltaTable:
    raw = lake.open(features.table)
    if raw is None:
        raise TableMissing(f"{features.table} has never been written: land something first")
    return raw


def _touched(raw: DeltaTable, commits: list[Commit], features: OnlineFeatures) -> pl.DataFrame:
    """Every version of the rows that commits have added to: a correction must find what it corrects."""
    if any("offsets" not in commit.manifest for commit in commits):
        raise Rewritten(f"{features.table} was rewritten since the online state was filled: materialize it anew")
    spans = [(a, *span) for c in commits for a, span in c.manifest["offsets"].items()]
    new = pl.any_horizontal(
        (pl.col("source") == application) & pl.col("offset").is_between(begin, end, closed="left")
        for application, begin, end in spans
    )
    rows = rows_of(raw, sorted({day for c in commits for day in c.manifest["partitions"]}))
    key = ["event_date", features.online.view.sequence]
    return rows.join(rows.filter(new).select(key).unique(), on=key, how="semi").collect()
