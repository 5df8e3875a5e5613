"""Says of a finished trial what was lost, doubled or torn. It believes nobody's counts: only topic, logs and files.

Lost: acknowledged and not in the topic, or in the topic and in no table. Doubled: more than one row for a message, or a
row for none. Torn: a row of the wrong table or content, or a commit whose rows, offsets and manifest disagree.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from convergence.arrivals.topics import Topic
from convergence.chaos.load import DATA, LATE, REJECTED, row_of
from convergence.chaos.witness import Entry, entries, landed, rows_of
from convergence.lake.content_hash import content_hash
from convergence.lake.files import DAY, WHOLE

LOST, DOUBLED, TORN = KINDS = ("lost", "doubled", "torn")
MANIFESTS = "_manifests"

Place = tuple[int, int]  # partition and offset


@dataclass(frozen=True)
class Finding:
    """One thing that must not be."""

    kind: str
    what: str


@dataclass(frozen=True)
class Evidence:
    """What a trial left."""

    topic: Topic
    planned: pl.DataFrame  # sequence, value, belongs
    ledger: pl.DataFrame  # producer, sequence, partition, offset
    log: pl.DataFrame  # partition, offset, value
    lake: Path

    def table(self, where: str) -> Path:
        """The folder of the table that such messages belong in."""
        return self.lake / (self.topic.table if where == DATA else f"{self.topic.table}_{where}")


def check(evidence: Evidence) -> list[Finding]:
    """Everything that is lost, doubled or torn; nothing if all is well."""
    values = dict(evidence.planned.select("sequence", "value").iter_rows())
    homes: dict[bytes, str] = dict(evidence.planned.select("value", "belongs").iter_rows())
    log: dict[Place, bytes] = {(p, o): value for p, o, value in evidence.log.iter_rows()}
    found = list(_topic(evidence.ledger, values, homes, log))
    expected = {place: homes[value] for place, value in log.items() if value in homes}
    rows: dict[str, list[tuple[Place, dict[str, Any]]]] = {}
    for where in (DATA, LATE, REJECTED):
        rows[where] = present(evidence.table(where))
        found += _commits(evidence, where, {place for place, home in expected.items() if home == where})
    found += _places(expected, {where: Counter(place for place, _ in held) for where, held in rows.items()})
    for where, held in rows.items():
        found += _contents(evidence.topic, where, held, log)
    return found + list(_recorded(evidence))


def counts(findings: list[Finding]) -> dict[str, int]:
    """How many of each kind."""
    tally = Counter(finding.kind for finding in findings)
    return {kind: tally[kind] for kind in KINDS}


def _topic(
    ledger: pl.DataFrame, values: Mapping[int, bytes], homes: Mapping[bytes, str], log: Mapping[Place, bytes]
) -> Iterator[Finding]:
    """The broker's part: what it acknowledged it must hold, in the order of sending, and nothing that nobody sent."""
    newest: dict[tuple[int, int], int] = {}
    for producer, sequence, partition, offset in ledger.iter_rows():
        if log.get((partition, offset)) != values[sequence]:
            yield Finding(LOST, f"message {sequence} was acknowledged at {partition}/{offset} and is not there")
        if offset <= newest.get((producer, partition), -1):
            yield Finding(TORN, f"message {sequence} is at {partition}/{offset}, before one that was sent earlier")
        newest[producer, partition] = offset
    for place, value in log.items():
        if value not in homes:
            yield Finding(TORN, f"{_at(place)} is a message that nobody sent")


def _places(expected: Mapping[Place, str], held: Mapping[str, Counter[Place]]) -> Iterator[Finding]:
    """Every message exactly once, in its table."""
    for place, home in expected.items():
        where = {table: count[place] for table, count in held.items() if count[place]}
        total = sum(where.values())
        if not where:
            yield Finding(LOST, f"{_at(place)} belongs in {home} and is in no table")
        elif home not in where:
            yield Finding(TORN, f"{_at(place)} belongs in {home} and is in {', '.join(where)}")
        for _ in range(total - 1):
            yield Finding(DOUBLED, f"{_at(place)} belongs in {home} and is there {total} times: {where}")
    for table, count in held.items():
        for place in count.keys() - expected.keys():
            yield Finding(DOUBLED, f"{table} has a row for {_at(place)}, where no message is")


def _contents(
    topic: Topic, where: str, held: list[tuple[Place, dict[str, Any]]], log: Mapping[Place, bytes]
) -> Iterator[Finding]:
    """Every row says what its message says."""
    for place, row in held:
        value = log.get(place)
        if value is None:
            continue
        if where == REJECTED:
            said = _original(value)
            kept = row["row"] or ""
            differ = ["row"] if kept != said else []
            differ += ["reason"] if not row["reason"] else []
        else:
            try:
                sent = row_of(topic, value)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # it cannot be used, and is in the wrong table: that is told already
            differ = [name for name, held in row.items() if held != sent.get(name)]
        if differ:
            yield Finding(TORN, f"{where} row of {_at(place)} differs from its message in {', '.join(differ)}")


def _original(value: bytes) -> str:
    """A message as its rejected row must keep it: the whole of it, and nothing of it changed."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"no UTF-8, in hex: {value.hex()}"


def _commits(evidence: Evidence, where: str, mine: set[Place]) -> Iterator[Finding]:
    """Every commit takes the offsets after those that landed, all of its messages with them, and says so truly."""
    table = evidence.table(where)
    reached: dict[str, int] = {}
    files: dict[str, dict[str, str | None]] = {}
    for entry in entries(table):
        name = f"{where} version {entry.version}"
        rows = rows_of(table, entry.added)
        if entry.removed - files.keys():
            yield Finding(TORN, f"{name} removes files that are not there")
        if entry.manifest is None:
            if entry.added or entry.removed:
                before = rows_of(table, {path: files[path] for path in entry.removed & files.keys()})
                if content_hash(before) != content_hash(rows):
                    yield Finding(TORN, f"{name} has no manifest and changes the rows")
        else:
            yield from _offsets(name, entry, rows, reached, mine)
            yield from _hashes(name, entry, rows)
        reached |= {app: at for app, at in entry.transactions.items() if _is_partition(app)}
        files = {path: values for path, values in files.items() if path not in entry.removed} | entry.added
    for partition, end in _ends(mine).items():
        if (at := max((at for app, at in reached.items() if _partition(app) == partition), default=0)) < end:
            yield Finding(TORN, f"{where} has landed {partition} up to {at}, and its messages go up to {end}")


def _offsets(
    name: str, entry: Entry, rows: pl.DataFrame, reached: Mapping[str, int], mine: set[Place]
) -> Iterator[Finding]:
    """Rows, offsets and transactions of one commit agree with each other and with the messages of that range."""
    spans: dict[str, list[int]] = (entry.manifest or {}).get("offsets", {})
    said = {application: at for application, at in entry.transactions.items() if _is_partition(application)}
    if said != {application: end for application, (_, end) in spans.items()}:
        yield Finding(TORN, f"{name}: manifest says {spans}, transactions {said}")
    by_source: dict[str, list[int]] = defaultdict(list)
    for source, offset in rows.select("source", "offset").iter_rows() if rows.width else ():
        by_source[source].append(offset)
    if strangers := by_source.keys() - spans.keys():
        yield Finding(TORN, f"{name} has rows of {', '.join(strangers)} and no offsets of it")
    for application, (begin, end) in spans.items():
        at, all_of_it = reached.get(application, 0), sorted(o for p, o in mine if p == _partition(application))
        if begin < at or any(at <= offset < begin for offset in all_of_it):
            yield Finding(TORN, f"{name}: {application} goes on at {begin} after {at}")
        wanted = [offset for offset in all_of_it if begin <= offset < end]
        if sorted(by_source[application]) != wanted:
            number = len(by_source[application])
            yield Finding(TORN, f"{name}: {number} rows of {application} [{begin}, {end}), {len(wanted)} messages")


def _hashes(name: str, entry: Entry, rows: pl.DataFrame) -> Iterator[Finding]:
    """Row count and content hash of each partition in the manifest are those of the files."""
    said = {key: (part["rows"], part["hash"]) for key, part in (entry.manifest or {})["partitions"].items()}
    parts = {str(day): part for (day,), part in rows.group_by(DAY)} if DAY in rows.columns else {WHOLE: rows}
    files = {key: (part.height, content_hash(part)) for key, part in parts.items() if part.height}
    said = {key: state for key, state in said.items() if state[0]}
    if said != files:
        differ = sorted(key for key in said.keys() | files.keys() if said.get(key) != files.get(key))
        yield Finding(TORN, f"{name}: manifest and files differ in {', '.join(differ)}")


def _recorded(evidence: Evidence) -> Iterator[Finding]:
    """The table of manifests holds each partition of each commit once, as far as it says that it has read a log."""
    held = Counter((row["table"], row["version"], row["partition"]) for row in _rows(evidence.lake / MANIFESTS))
    read = landed(evidence.lake / MANIFESTS)
    wanted = Counter(
        (name, entry.version, key)
        for where in (DATA, LATE, REJECTED)
        for name in [str(evidence.table(where).relative_to(evidence.lake))]
        for entry in entries(evidence.table(where))
        if entry.manifest and entry.version <= read.get(f"log/{name}", -1)
        for key in entry.manifest["partitions"]
    )
    names = {name for name, _, _ in wanted}
    for key in {k for k in held | wanted if k[0] in names and held[k] != wanted[k]}:
        yield Finding(TORN, f"{MANIFESTS} has {held[key]} records of {key}, and the log {wanted[key]}")


def present(table: Path) -> list[tuple[Place, dict[str, Any]]]:
    """The rows that a reader is shown, by the place of their message in the topic."""
    return [((_partition(row.pop("source")), row.pop("offset")), row) for row in _rows(table)]


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    files: dict[str, dict[str, str | None]] = {}
    for entry in entries(table):
        files = {path: values for path, values in files.items() if path not in entry.removed} | entry.added
    yield from rows_of(table, files).iter_rows(named=True)


def _is_partition(application: str) -> bool:
    """Whether an application id is that of a topic's partition: `kafka/<topic>@<identity>/<number>`."""
    return "@" in application


def _partition(application: str) -> int:
    return int(application.rpartition("/")[2])


def _ends(places: set[Place]) -> dict[int, int]:
    ends: dict[int, int] = {}
    for partition, offset in places:
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    return ends


def _at(place: Place) -> str:
    return f"{place[0]}/{place[1]}"
