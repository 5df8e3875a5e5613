"""Historical features: what the lake's feature tables knew about entities as of given times, by one of three engines.

The definition is that of `point_in_time_join`: the last row by (event time, sequence, arrival) that had happened and
had arrived. An engine only finds rows; names, types and limits are settled here, so that they are the same for all.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from convergence.errors import ConvergenceError, LakeError, TableMissing
from convergence.features.groups import FeatureGroup
from convergence.features.keys import entity_keys, microseconds
from convergence.features.point_in_time import point_in_time_join
from convergence.features.views import MICROSECOND
from convergence.lake.in_duckdb import Stream, as_query, quoted
from convergence.lake.tables import Lake, rows_of

TIME = pl.Datetime("us", "UTC")
_PLACE = ("filename", "file_row_number")  # DuckDB's names of where in Parquet files a row is


class OfflineStore(Protocol):
    """An engine that finds historical features."""

    def lookup(self, asked: pl.DataFrame, group: FeatureGroup) -> pl.DataFrame:
        """The features of the group for each row of `asked`, in its order; null where there are none.

        `asked` has the key columns of the group, `asked_time` and `known_by`.
        """
        ...


def historical_features(
    store: OfflineStore,
    spine: pl.DataFrame,
    groups: Sequence[FeatureGroup],
    *,
    time: str = "event_time",
    known_by: str | None = None,
) -> pl.DataFrame:
    """The spine with the features of each group as its rows would have seen them.

    Args:
        store: the engine.
        spine: rows with the key columns of every group.
        groups: what to look up; their features must have different names, and none of the spine's.
        time: spine column: features of rows with an event time up to it count.
        known_by: spine column: up to when these must have arrived; None: `time`.

    Returns:
        All spine rows in their order, then the features. A row with a null in a key column has none.

    Raises:
        ConvergenceError: a column is missing or of another type, a time is null, or names collide.
    """
    names = [*spine.columns, *(feature for group in groups for feature in group.features)]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConvergenceError(
            f"several columns would be called {', '.join(repeated)}: rename the spine's or ask apart"
        )
    known_by = known_by or time
    if missing := [c for c in (time, known_by, *(k for g in groups for k in g.entity)) if c not in spine.columns]:
        raise ConvergenceError(
            f"the spine lacks {', '.join(dict.fromkeys(missing))}; it has {', '.join(spine.columns)}"
        )
    times = [
        pl.Series(name, microseconds(spine, column)).cast(TIME)
        for name, column in (("asked_time", time), ("known_by", known_by))
    ]
    found = spine
    for group in groups:
        keys, _ = entity_keys([spine, pl.DataFrame(schema=group.columns)], group.entity)
        features = store.lookup(keys.with_columns(times), group)
        found = found.hstack(features.cast({name: group.columns[name] for name in group.features}))
    return found


@dataclass(frozen=True)
class PolarsOffline:
    """The lake's tables, at the given versions or the newest, joined in memory by Polars."""

    lake: Lake
    versions: Mapping[str, int] = field(default_factory=dict)

    def lookup(self, asked: pl.DataFrame, group: FeatureGroup) -> pl.DataFrame:
        """As OfflineStore says."""
        rows = self.lake.scan(group.table, version=self.versions.get(group.table))
        refuse_missing(group.table, rows.collect_schema(), group.columns)
        within = pl.col("event_time") <= pl.lit(asked["asked_time"].max(), TIME)
        columns = {name: f"of_{name}" for name in group.columns if name not in group.entity}
        columns[group.sequence] = "of_sequence"
        facts = rows.filter(within).select(*group.entity, *(pl.col(name).alias(new) for name, new in columns.items()))
        joined = point_in_time_join(
            asked,
            facts,
            by=group.entity,
            sequence="of_sequence",
            spine_time="asked_time",
            known_by="known_by",
            fact_time="of_event_time",
            fact_known="of_arrived_at",
        )
        young = pl.lit(value=True)
        if group.max_age is not None:
            young = pl.col("asked_time") - pl.col("of_event_time") <= group.max_age
        return joined.select(pl.when(young).then(pl.col(columns.get(f, f))).alias(f) for f in group.features)


@dataclass(frozen=True)
class DuckDBOffline:
    """The lake's tables, at the given versions or the newest, read by DuckDB: the files that Delta's log lists."""

    lake: Lake
    versions: Mapping[str, int] = field(default_factory=dict)

    def lookup(self, asked: pl.DataFrame, group: FeatureGroup) -> pl.DataFrame:
        """As OfflineStore says. Raises LakeError for a lake in a bucket."""
        import duckdb

        if "://" in self.lake.root:
            raise LakeError(
                f"DuckDB reads lakes in a folder, and this one is {self.lake.root}: choose engine polars or postgres"
            )
        handle = self.lake.open(group.table, self.versions.get(group.table))
        if handle is None:
            raise TableMissing(f"{group.table} has never been written: materialize {group.table} first")
        refuse_missing(group.table, rows_of(handle).collect_schema(), group.columns)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("asked", Stream(asked.with_row_index("asked_row")))
            connection.execute(f"CREATE TEMP VIEW facts AS {as_query(connection, handle, _PLACE)}")
            *steps, query = _steps(group)
            for step in steps:
                connection.execute(step)
            return pl.DataFrame(connection.sql(query))


def refuse_missing(table: str, there: Collection[str], wanted: Collection[str]) -> None:
    """Raise LakeError where a table lacks columns of its contract: no row of the contract's was written yet."""
    if missing := [name for name in wanted if name not in there]:
        raise LakeError(f"{table} has no column {', '.join(missing)} yet: materialize a day of it, then ask again")


def _steps(group: FeatureGroup) -> Iterator[str]:
    """Statements, the last of them the query.

    DuckDB's ASOF join takes any of several rows with one time, so it gets one of each time, the last. Where that had
    not arrived, and only there, all earlier ones are looked at. Rows are found by their keys and times alone, and
    fetched whole from their place. In one statement DuckDB takes minutes for what these
    do in seconds: it joins in an order of its own.
    """
    keys, sequence = [quoted(key) for key in group.entity], quoted(group.sequence)
    narrow = ", ".join(dict.fromkeys((*keys, "event_time", sequence, "arrived_at")))
    same = " AND ".join(f"given.{key} = history.{key}" for key in keys)
    age, most = "epoch_us(given.asked_time) - epoch_us(found.event_time)", group.max_age
    young = "" if most is None else f"AND {age} <= {most // MICROSECOND}"
    yield "CREATE TEMP TABLE given AS FROM asked"
    yield f"CREATE TEMP TABLE history AS SELECT {narrow}, {', '.join(_PLACE)} FROM facts"
    yield f"""
        CREATE TEMP TABLE last_of_its_time AS FROM history
        QUALIFY 1 = row_number() OVER (
            PARTITION BY {", ".join(keys)}, event_time ORDER BY {sequence} DESC NULLS LAST, arrived_at DESC
        )
    """
    yield f"""
        CREATE TEMP TABLE latest AS SELECT given.asked_row, given.asked_time, given.known_by, history.*
        FROM given ASOF JOIN last_of_its_time AS history ON {same} AND given.asked_time >= history.event_time
    """
    yield f"""
        CREATE TEMP TABLE found AS
        SELECT * EXCLUDE (asked_time, known_by) FROM latest WHERE arrived_at <= known_by
        UNION ALL BY NAME
        SELECT given.asked_row, history.*
        FROM latest AS given JOIN history
        ON {same} AND history.event_time <= given.asked_time AND history.arrived_at <= given.known_by
        WHERE given.arrived_at > given.known_by
        QUALIFY 1 = row_number() OVER (
            PARTITION BY given.asked_row
            ORDER BY history.event_time DESC, history.{sequence} DESC NULLS LAST, history.arrived_at DESC
        )
    """
    yield f"""
        SELECT {", ".join(f"wide.{quoted(feature)}" for feature in group.features)}
        FROM given LEFT JOIN found ON given.asked_row = found.asked_row {young}
        LEFT JOIN facts AS wide ON {" AND ".join(f"wide.{part} = found.{part}" for part in _PLACE)}
        ORDER BY given.asked_row
    """
