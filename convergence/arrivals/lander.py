"""Messages into the lake exactly once: the rows and the offsets they came from are one commit.

Delta accepts a repeated transaction, so the lander reads the last offset, checks that the span starts there, and
commits with that very handle: delta-rs refuses the commit if anyone has moved the offset meanwhile.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import polars as pl
from deltalake import DeltaTable

from convergence.arrivals.acceptance import Sorted, sort_out
from convergence.arrivals.erased import without_erased
from convergence.arrivals.topics import Arrived, Source, Span, Stream, Topic
from convergence.errors import ArrivalError, ConcurrentWrite, TableMissing
from convergence.faults import fault
from convergence.lake.erasures import Erasures, erasures, newest
from convergence.lake.maintenance import compact
from convergence.lake.manifests import Provenance, build_manifest, record
from convergence.lake.tables import ERASURE, WHOLE, Lake, by_day

BATCH_ROWS = 250_000
COMPACT_AFTER = 100  # commits: a commit costs more with every file that the table has

_T = TypeVar("_T")


@dataclass
class Landed:
    """What landing did."""

    messages: int = 0
    accepted: int = 0
    late: int = 0
    rejected: int = 0
    erased: int = 0  # of data subjects who were erased: left out
    commits: int = 0
    days: frozenset[str] = frozenset()  # event dates of the accepted rows

    def __add__(self, other: "Landed") -> "Landed":
        return Landed(
            **{name: getattr(self, name) + getattr(other, name) for name in _COUNTS}, days=self.days | other.days
        )


_COUNTS = ("messages", "accepted", "late", "rejected", "erased", "commits")


def land(
    lake: Lake,
    topic: Topic,
    source: Source,
    provenance: Provenance,
    batch_rows: int = BATCH_ROWS,
    *,
    accept_loss: bool = False,
) -> Landed:
    """Land everything that the source has and the lake has not, in commits of about `batch_rows`.

    Raises ArrivalError where messages between the landed and the offered are gone.
    """
    lander = Lander(lake, topic, provenance, accept_loss)
    lander.refuse_loss(source.offered(topic, lander.landed))
    done = Landed()
    for batch in read_ahead(source.batches(topic, lander.landed, batch_rows)):
        done += lander.land(batch)
    record(lake, topic.tables)
    return done


def follow(
    lake: Lake,
    topic: Topic,
    stream: Stream,
    provenance: Provenance,
    *,
    rows: int = BATCH_ROWS,
    seconds: float = 1.0,
    until_caught_up: bool = False,
    accept_loss: bool = False,
) -> Generator[tuple[Landed, int], None, None]:
    """Land what arrives, for ever or `until_caught_up`: a commit after `seconds`, or `rows` messages before that.

    Yields what each landing did and how many messages the log holds beyond it. No more than two batches are in memory,
    however many arrive: reading waits for landing. The small files of the commits are merged every COMPACT_AFTER.
    """
    lander = Lander(lake, topic, provenance, accept_loss)
    lander.refuse_loss(stream.offered(topic, lander.landed))
    with ThreadPoolExecutor(max_workers=1) as housekeeper:
        commits, merging = 0, None
        lag: dict[str, int] = {}  # of each partition when it was last heard of
        if until_caught_up:
            batches = stream.batches(topic, lander.landed, rows)
        else:
            batches = stream.follow(topic, lander.landed, rows, seconds)
        for batch in read_ahead(batches):
            done = lander.land(batch) if batch else Landed()
            commits += done.commits
            if done.commits and commits % COMPACT_AFTER == 0 and (merging is None or merging.done()):
                if merging:
                    merging.result()  # merging that failed stops the lander: commits would become ever slower
                merging = housekeeper.submit(_merge_small_files, lake, topic)
            lag |= {arrived.span.application: arrived.behind for arrived in batch}
            yield done, sum(lag.values())


def _merge_small_files(lake: Lake, topic: Topic) -> None:
    for table in topic.tables:
        with suppress(ConcurrentWrite, TableMissing):  # a partition was replaced meanwhile: the next time will do
            compact(lake, table)


def read_ahead(batches: Iterator[_T]) -> Iterator[_T]:
    """The same batches, the next one being read while the last one is worked on; never more than that one."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        try:
            coming = reader.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = reader.submit(next, batches, None)
                yield batch
        finally:
            reader.submit(getattr(batches, "close", int))


@dataclass
class Lander:
    """Lands batches of one topic, keeping its tables open in between.

    Rejected and late rows go to `<table>_rejected` and `<table>_late` first, so that a crash between the commits
    repeats only what is missing. `accept_loss`: where messages are gone, go on behind them and say so in the manifest.
    """

    lake: Lake
    topic: Topic
    provenance: Provenance
    accept_loss: bool = False
    _handles: dict[str, DeltaTable] = field(default_factory=dict)
    _lost: dict[str, str] = field(default_factory=dict)
    _erasures: Erasures = field(default_factory=Erasures)

    def landed(self, application: str) -> int | None:
        """The next offset of a partition, as of the last look at the table; None if nothing of it has landed."""
        handle = self._handle(self.topic.table)
        return handle.transaction_version(application) if handle else None

    def land(self, batch: Sequence[Arrived]) -> Landed:
        """One batch, in one commit of the topic's table; whatever of it is there already is left out."""
        spans = [arrived.span for arrived in batch]
        self._refresh(self.topic.table)
        self._refuse(spans)
        fault("before_decode")
        rows = sort_out(self.topic, {arrived.span.application: arrived.decode() for arrived in batch})
        made = replace(self.provenance, origins=sorted({span.origin for span in spans}))
        table = self.topic.table
        fault("before_rejected")
        if rows.rejected.height:
            self._append(f"{table}_rejected", rows.rejected, spans, made, dated=False)
        fault("before_late")
        if rows.late.height:
            self._append(f"{table}_late", rows.late, spans, made, dated=True)
        fault("before_data")
        begun = self._append(table, rows.accepted, spans, made, dated=True)
        self._lost.clear()  # it is on record
        fault("after_data")
        left = rows
        if self._erasures.number:
            left = Sorted(*(self._without_erased(part) for part in (rows.accepted, rows.late, rows.rejected)))
        return _landed(rows, left, spans, begun)

    def refuse_loss(self, offered: Iterable[Span]) -> None:
        """Raise ArrivalError if messages are gone between what has landed and what a source offers."""
        spans = list(offered)
        for span in spans:
            self._refuse_cut(span)
        self._refuse(spans)

    def _refuse(self, spans: Iterable[Span]) -> None:
        for span in spans:
            reason = self._gap(span) or self._remade(span)
            if reason and not self.accept_loss:
                raise ArrivalError(
                    f"{self.topic.table}: {reason}. Nothing of it was landed. Restore them, or record the loss and go "
                    f"on: `convergence land {self.topic.name} --accept-loss`"
                )
            if reason:
                self._lost[span.application] = reason

    def _gap(self, span: Span) -> str | None:
        last = self.landed(span.application)
        if last is None or last >= span.start:
            return None
        gone = f"{span.start - last} messages are gone"
        return f"{span.application} landed up to offset {last} and now starts at {span.start}: {gone}"

    def _remade(self, span: Span) -> str | None:
        if span.log is None or self.landed(span.log[0]) in (None, span.log[1]):
            return None
        return f"{span.log[0]} was deleted and made anew, and not all of the former log may have landed"

    def _refuse_cut(self, span: Span) -> None:
        """A log that was cut off gives its offsets to other messages: that cannot be accepted, and is refused."""
        last = self.landed(span.application)
        if last is not None and last > span.end:
            raise ArrivalError(
                f"{self.topic.table}: {span.application} landed up to offset {last} and now ends at {span.end}: the "
                "log was cut off. Nothing of it was landed. Restore it, or make the topic anew and send what is missing"
            )

    def _append(
        self, table: str, rows: pl.DataFrame, spans: Sequence[Span], made: Provenance, *, dated: bool
    ) -> Mapping[str, int]:
        """Append the rows above each partition's landed offset; returns where each partition was begun, if at all."""
        lost = False
        while True:
            base = self._refresh(table) if table != self.topic.table or lost else self._handle(table)
            landed = {s.application: base.transaction_version(s.application) if base else None for s in spans}
            begin = {s.application: max(landed[s.application] or 0, s.start) for s in spans}
            self._hear(base)
            todo = [s for s in spans if landed[s.application] is None or begin[s.application] < s.end]
            if not todo:
                return {}
            new = rows
            if any(begin[s.application] > s.start for s in spans):
                begun = pl.DataFrame(
                    {"source": [s.application for s in todo], "begin": [begin[s.application] for s in todo]}
                )
                new = (
                    rows.join(begun, on="source", maintain_order="left")
                    .filter(pl.col("offset") >= pl.col("begin"))
                    .drop("begin")
                )
            above, new = new.height, self._without_erased(new)
            manifest = build_manifest(by_day(new) if dated else {WHOLE: new}, "append", made)
            manifest["offsets"] = {s.application: [begin[s.application], s.end] for s in todo}
            if self._lost:
                manifest["lost"] = self._lost
            if above > new.height:
                manifest["left_out"] = above - new.height
            consumed = {s.application: s.end for s in todo} | dict(s.log for s in todo if s.log)
            if base is None and self._erasures.number:
                consumed[ERASURE] = self._erasures.number
            try:
                self.lake.append(table, new, manifest, consumed, base, dated=dated)
            except ConcurrentWrite:
                lost = True  # another lander was faster: look again at what is left
                continue
            return {s.application: begin[s.application] for s in todo}

    def _hear(self, base: DeltaTable | None) -> None:
        """Know every erasure that has looked through this state of a table, which says so itself once it is there."""
        if ((base.transaction_version(ERASURE) or 0) if base else newest(self.lake)) > self._erasures.number:
            self._erasures = erasures(self.lake)

    def _without_erased(self, rows: pl.DataFrame) -> pl.DataFrame:
        return without_erased(self.topic, rows, self._erasures) if self._erasures.number else rows

    def _refresh(self, table: str) -> DeltaTable | None:
        """The table as it is now: a handle does not follow even the commits that are made with it."""
        if handle := self._handle(table):
            handle.update_incremental()
        return handle

    def _handle(self, table: str) -> DeltaTable | None:
        if table not in self._handles and (handle := self.lake.open(table)):
            self._handles[table] = handle
        return self._handles.get(table)


def _landed(rows: Sorted, left: Sorted, spans: Sequence[Span], begun: Mapping[str, int]) -> Landed:
    """What of a batch was new: another lander may have been faster with some of it. `left`: without erased subjects."""
    if not begun:
        return Landed()
    begin = pl.DataFrame(
        {"source": list(begun), "begin": list(begun.values())}, schema={"source": pl.String, "begin": pl.Int64}
    )

    def counted(parts: Sorted) -> list[pl.DataFrame]:
        return [
            part.select("source", "offset", *(["event_date"] if part is parts.accepted else []))
            .join(begin, on="source")
            .filter(pl.col("offset") >= pl.col("begin"))
            for part in (parts.accepted, parts.late, parts.rejected)
        ]

    accepted, late, rejected = counted(left)
    landed = accepted.height + late.height + rejected.height
    messages = landed if left is rows else sum(part.height for part in counted(rows))
    return Landed(
        messages=messages,
        accepted=accepted.height,
        late=late.height,
        rejected=rejected.height,
        erased=messages - landed,
        commits=1,
        days=frozenset(accepted["event_date"].unique().cast(pl.String)),
    )
