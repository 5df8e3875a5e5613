"""One erasure from beginning to end: on record first, then table after table, then the stores, then its certificate.

Each step may be repeated, so an erasure that was interrupted is completed by asking for it again.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convergence.arrivals.topics import Topic
from convergence.erasure.inbox import replacements
from convergence.erasure.subjects import Store, Subject
from convergence.erasure.tables import Cleared, clear, companions, held, lakes
from convergence.faults import fault
from convergence.lake.erasures import ask, certify
from convergence.lake.tables import Lake
from convergence.versions.audit import AuditLog, Draft


@dataclass(frozen=True)
class Keepers:
    """Everything that may hold a subject: the lake, the inbox of its topics, and what lies beside them."""

    lake: Lake
    inbox: Path
    topics: Collection[Topic]
    stores: Sequence[Store] = field(default_factory=list)
    cleared: dict[str, int] = field(default_factory=dict)  # rows taken out by table, for stores that go by it


def look(keepers: Keepers, subject: Subject) -> Iterator[tuple[str, int]]:
    """Where the subject is, and in how many entries; nothing is changed."""
    for table in subject.columns:
        for lake in lakes(keepers.lake, table):
            for each in companions(table):
                if rows := sum(held(lake, each, subject).values()):
                    yield lake.location(each), rows
    for topic in keepers.topics:
        if removed := sum(r.removed for r in replacements(keepers.inbox, topic, subject)):
            yield f"inbox/{topic.name}", removed
    for store in keepers.stores:
        if entries := store.erase(subject, dry_run=True).entries:
            yield store.name, entries


def erase(keepers: Keepers, subject: Subject, *, actor: str, reason: str) -> dict[str, Any]:
    """Remove the subject from everything; returns the certificate. Raises LakeError where others never let it finish.

    What Kafka still holds is not removed; it is left out whenever it is landed again.
    """
    stone, _ = ask(keepers.lake, subject.kind, subject.ids, actor, reason)
    fault("asked")
    tables, files = [], 0
    for table in subject.columns:
        replaced = [r for t in keepers.topics if t.table == table for r in replacements(keepers.inbox, t, subject)]
        for lake in lakes(keepers.lake, table):
            found = [clear(lake, each, subject, stone, replaced if each == table else ()) for each in companions(table)]
            tables += [one for one in found if one]
            keepers.cleared[table] = keepers.cleared.get(table, 0) + sum(sum(one.rows.values()) for one in found if one)
        fault("before_files")
        for each in replaced:
            each.put()
            files += 1
    stores = {store.name: store.erase(subject, dry_run=False) for store in keepers.stores}
    fault("before_certificate")
    taken = [one for one in tables if one.rows or one.files]
    found = {
        "looked_through": [one.table for one in tables],
        "tables": [_told(one) for one in taken],
        "inbox_files": files,
        "stores": {name: {"entries": told.entries, "where": list(told.where)} for name, told in stores.items()},
    }
    rows = sum(sum(one.rows.values()) for one in taken)
    detail = {"erasure": stone.number, "rows": rows, "tables": [one.table for one in taken], "reason": reason}
    entry = AuditLog(keepers.lake.store).append(Draft(actor, "erase", f"{stone.kind}:{stone.hashes[0]}", detail))
    return certify(keepers.lake, stone, {**found, "audit_entry": entry.number})


def _told(one: Cleared) -> dict[str, Any]:
    return {
        "table": one.table,
        "rows": sum(one.rows.values()),
        "partitions": dict(one.rows),
        "versions_removed_before": one.version if one.rows else None,
        "files_removed": one.files,
    }
