"""What the online store holds of an entity: its recent events, packed, so that a window can end at any moment.

A feature of a transaction ends at the transaction itself, so no finished value can be stored ahead of it. The state
holds exactly what the aggregates of the view read, in whole units, and nothing older than the longest window.
"""

import json
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b, sha256
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.aggregates import whole_units
from convergence.features.keys import Int64Array
from convergence.features.views import MICROSECOND, Aggregate, FeatureView
from convergence.features.window_index import NOTHING

DAY = 86_400_000_000  # microseconds

_LAYOUT = 1  # raised when the bytes change, so that older ones are refused
_MAGIC = b"CVRGSTAT"
_HEADER = struct.Struct("<8s8sqq")  # magic, fingerprint, version, newest event time
_INT64_LIMIT = 2**63

Entity = tuple[str, ...]  # key columns
Key = tuple[Any, ...]  # their values


class StateMismatch(ConvergenceError):
    """Bytes that are not a state of this view and schema."""


@dataclass(frozen=True)
class EntityState:
    """Recent rows of an entity: for each source a matrix of shape (columns of the layout, rows), ascending in time.

    `version` is the version of the consumed table up to which the rows are complete, `newest` the newest event time.
    """

    version: int = -1
    newest: int = NOTHING
    rows: Mapping[str, Int64Array] = field(default_factory=dict)


class StateLayout:
    """Which entities of a view have a state and what is in it, from the view and the types of its sources' columns.

    An entity whose key columns include those of another (customer at a terminal) is found among the other's rows.
    Rows are told apart by the UTC day of their event time and the view's sequence column, which must be an integer.

    Raises:
        ConvergenceError: a column is missing or has a type that cannot be stored.
    """

    def __init__(self, view: FeatureView, schemas: Mapping[str, pl.Schema]) -> None:
        self.view = view
        declared = dict.fromkeys(a.entity for a in view.aggregates)
        self.entities = tuple(e for e in declared if not any(set(o) < set(e) for o in declared))
        self.holder: dict[Entity, Entity] = {e: next(h for h in self.entities if set(h) <= set(e)) for e in declared}
        self.columns: dict[tuple[Entity, str], tuple[str, ...]] = {}
        self.reach: dict[tuple[Entity, str], int] = {}
        for a in view.aggregates:
            place = self.holder[a.entity], a.source
            first = ("event_time", "arrived_at", view.sequence)
            wanted = (*(c for c in a.entity if c not in place[0]), *_read_by(a))
            self.columns[place] = tuple(dict.fromkeys((*self.columns.get(place, first), *wanted)))
            self.reach[place] = max(self.reach.get(place, 0), (a.window + a.delay) // MICROSECOND)
        self._units = {p: [n for n, c in enumerate(columns) if "|" in c] for p, columns in self.columns.items()}
        self._power = 2 if any(a.function == "std" for a in view.aggregates) else 1
        self._refuse(schemas)
        self.fingerprint = fingerprint(view, schemas)
        self._mark = bytes.fromhex(self.fingerprint)

    def _refuse(self, schemas: Mapping[str, pl.Schema]) -> None:
        for (entity, source), columns in self.columns.items():
            schema = schemas[source]
            names = [*entity, *(c.partition("|")[0] for c in columns)]
            if missing := [name for name in names if name not in schema]:
                raise ConvergenceError(
                    f"source {source!r} of feature view {self.view.name!r} lacks {', '.join(missing)}, which its "
                    f"online state holds; it has {', '.join(schema)}"
                )
            if not schema[self.view.sequence].is_integer():
                raise ConvergenceError(
                    f"sequence {self.view.sequence!r} is {schema[self.view.sequence]}; an online state needs an integer"
                )
            for name in {*entity, *(c for c in columns[3:] if "|" not in c)}:
                if not (schema[name].is_integer() or schema[name] == pl.String or schema[name] == pl.Boolean):
                    raise ConvergenceError(f"key column {name!r} is {schema[name]}; expected an integer or a string")

    def sources(self, entity: Entity) -> list[str]:
        """The sources whose rows a state of this entity holds, in the order in which they are packed."""
        return [source for holder, source in self.columns if holder == entity]

    def pack(self, entity: Entity, state: EntityState) -> bytes:
        """A state as bytes: header, rows of each source, then their columns as little-endian int64."""
        parts = [state.rows[source] for source in self.sources(entity)]
        counts = np.array([part.shape[1] for part in parts], "<u4")
        header = _HEADER.pack(_MAGIC, self._mark, state.version, state.newest)
        return b"".join((header, counts.tobytes(), *(part.astype("<i8", copy=False).tobytes() for part in parts)))

    def unpack(self, entity: Entity, data: bytes) -> EntityState:
        """The state that `pack` wrote. Raises StateMismatch for bytes of another view, schema or length."""
        sources = self.sources(entity)
        body = _HEADER.size + 4 * len(sources)
        if len(data) < body:
            raise StateMismatch(
                f"state of {'/'.join(entity)} has {len(data)} bytes; expected at least {body}: {_REFILL}"
            )
        magic, mark, version, newest = _HEADER.unpack_from(data)
        if magic != _MAGIC or mark != self._mark:
            raise StateMismatch(
                f"state of {'/'.join(entity)} was written for fingerprint {mark.hex() if magic == _MAGIC else 'none'}; "
                f"expected {self.fingerprint}: {_REFILL}"
            )
        counts = np.frombuffer(data, "<u4", len(sources), _HEADER.size).tolist()
        widths = [len(self.columns[entity, source]) for source in sources]
        expected = body + 8 * sum(n * k for n, k in zip(counts, widths, strict=True))
        if len(data) != expected:
            raise StateMismatch(f"state of {'/'.join(entity)} has {len(data)} bytes; expected {expected}: {_REFILL}")
        rows: dict[str, Int64Array] = {}
        for source, count, width in zip(sources, counts, widths, strict=True):
            rows[source] = np.frombuffer(data, "<i8", count * width, body).reshape(width, count)
            body += 8 * count * width
        return EntityState(version, newest, rows)

    def matrices(self, entity: Entity, source: str, frame: pl.DataFrame) -> Iterator[tuple[Key, Int64Array]]:
        """The rows of each entity in a frame of the source, as its state holds them; rows without a key are out."""
        known = frame.drop_nulls(entity).sort(*entity, "event_time", self.view.sequence, "arrived_at")
        if known.is_empty():
            return
        matrix = np.stack([_stored(known, column) for column in self.columns[entity, source]])
        lengths = known.select(pl.struct(entity).rle()).to_series().struct.unnest()
        ends = np.cumsum(lengths["len"].to_numpy())
        for key, first, end in zip(lengths["value"].to_list(), [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            yield tuple(key[column] for column in entity), matrix[:, first:end]

    def changed(
        self,
        entity: Entity,
        state: EntityState | None,
        new: Mapping[str, Int64Array],
        gone: Collection[tuple[int, int]],
        *,
        floor: int,
        version: int,
    ) -> EntityState:
        """A state with new rows in it, in any order; a row replaces what has the same day and sequence.

        `gone` are (day number, sequence) of rows that are taken out, such as those that a correction gave to another
        entity. Rows that no window of a query at or after `floor` (microseconds) reaches are let go. New rows are as
        `matrices` gives them, and no two have the same day and sequence.

        Raises:
            ConvergenceError: sums over the rows could exceed an int64.
        """
        rows: dict[str, Int64Array] = {}
        newest = state.newest if state else NOTHING
        for source in self.sources(entity):
            held = state.rows[source] if state else np.empty((len(self.columns[entity, source]), 0), np.int64)
            added = new.get(source, held[:, :0])
            if held.shape[1] and (gone or added.shape[1]):
                out = {*gone, *zip((added[0] // DAY).tolist(), added[2].tolist(), strict=True)}
                pairs = zip((held[0] // DAY).tolist(), held[2].tolist(), strict=True)
                held = held[:, [pair not in out for pair in pairs]]
            both = np.concatenate((held, added), axis=1) if added.shape[1] else held
            newest = max(newest, int(both[0].max(initial=NOTHING)))
            both = both[:, both[0] > floor - self.reach[entity, source]]
            merged = held.shape[1] and added.shape[1]
            rows[source] = both[:, np.lexsort((both[1], both[2], both[0]))] if merged else both
            self._refuse_overflow(entity, source, rows[source])
        return EntityState(version, newest, rows)

    def _refuse_overflow(self, entity: Entity, source: str, rows: Int64Array) -> None:
        held = rows[self._units[entity, source]]
        if not held.size:
            return
        known = np.where(held == NOTHING, 0, held)
        largest, count = max(int(known.max()), -int(known.min())), rows.shape[1] + 1  # a query adds itself
        if (largest + 1) ** self._power * count >= _INT64_LIMIT:
            columns = ", ".join(c for c in self.columns[entity, source] if "|" in c)
            raise ConvergenceError(
                f"online state of {self.view.name}: {count} rows with up to {largest} units of {columns} could exceed "
                "exact 64-bit arithmetic; declare a coarser resolution"
            )


_REFILL = "materialize the online state anew"


def fingerprint(view: FeatureView, schemas: Mapping[str, pl.Schema]) -> str:
    """16 hex digits that change whenever the view's declaration, the types of its sources or the layout change."""
    aggregates = [
        {**vars(a), "window": a.window // MICROSECOND, "delay": a.delay // MICROSECOND, "resolution": str(a.resolution)}
        for a in view.aggregates
    ]
    declared = {
        "layout": _LAYOUT,
        "view": [view.name, view.source, view.sequence],
        "aggregates": [{k: v for k, v in a.items() if k not in ("description", "_")} for a in aggregates],
        "expressions": [(e.name, repr(e.expression)) for e in view.expressions],
        "schemas": {source: {c: str(t) for c, t in schemas[source].items()} for source in view.sources},
    }
    return sha256(json.dumps(declared, sort_keys=True, default=list).encode()).hexdigest()[:16]


def key_name(entity: Entity, key: Key) -> str:
    """The name of an entity in the store, such as `customer_id:17`."""
    told = (str(value) if isinstance(value, int) else quote(str(value), safe="") for value in key)
    return f"{'+'.join(entity)}:{'+'.join(told)}"


def key_number(value: Any) -> int:
    """A key value as it is stored within rows: integers themselves, strings by a hash; None as NOTHING."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "little", signed=True)
    return int(value)


def _read_by(aggregate: Aggregate) -> list[str]:
    column = [] if aggregate.column is None else [f"{aggregate.column}|{aggregate.resolution}"]
    return [*column, *([] if aggregate.where is None else [aggregate.where])]


def _stored(frame: pl.DataFrame, column: str) -> Int64Array:
    """A column of the layout from the rows of its source."""
    name, _, resolution = column.partition("|")
    values = frame.get_column(name)
    if resolution:
        return np.where(values.is_null().to_numpy(), NOTHING, whole_units(values, Fraction(resolution)))
    if values.dtype == pl.Boolean:
        return values.fill_null(False).cast(pl.Int64).to_numpy()
    if values.dtype == pl.String:
        numbers = {value: key_number(value) for value in values.unique()}
        return np.array([numbers[value] for value in values], np.int64)
    return values.to_physical().cast(pl.Int64).fill_null(NOTHING).to_numpy()
