"""One erasure from beginning to end: on record first, then table after table, then the stores, then its certificate.

Each step may be repeated, so an erasure that was interrupted is completed by asking for it again.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from convergence.arrivals.topics import Topic
from convergence.erasure.inbox import Replacement, search, strays
from convergence.erasure.subjects import NotSearched, Store, Subject
from convergence.erasure.tables import Cleared, clear, companions, events, held, lakes, searched_by, strangers, unnamed
from convergence.faults import fault
from convergence.lake.erasures import ask, certify
from convergence.lake.tables import Lake
from convergence.versions.audit import AuditLog, Draft

MATCHES = (
    "the whole id as a value or a word, not part of a longer word; one that is a number only under the names that the "
    "id goes by, where one of these holds a number, and as any value or word where none does"
)
BEYOND = (
    "what Kafka holds, until its retention ends: it is left out whenever it is landed",
    "published data sets, and copies of the lake elsewhere",
    "what models have learned",
)
_LOOKED_INTO = {"lake", "inbox", "served", "ledgers", "online", "warehouse"}  # of the home folder


@dataclass(frozen=True)
class Keepers:
    """Everything that may hold a subject: the lake, the inbox of its topics, and what lies beside them.

    `others`: topics whose contract does not name the subject, where a file that was dropped into the wrong folder may.
    `tables`: those of the whole graph, by which one is told that lies in the lake and is nobody's; empty: not told.
    """

    lake: Lake
    inbox: Path
    topics: Collection[Topic]
    stores: Sequence[Store] = field(default_factory=list)
    cleared: dict[str, int] = field(default_factory=dict)  # rows taken out by table, for stores that go by it
    others: Collection[Topic] = ()
    tables: Collection[str] = ()

    def misplaced(self, subject: Subject) -> Collection[Topic]:
        """The other topics, where the id is not a number: among their numbers it would be anything."""
        return () if subject.numbered else self.others


@dataclass
class Looked:
    """Where a subject is, in how many entries, and where nobody can tell."""

    found: list[tuple[str, int]] = field(default_factory=list)
    not_searched: list[NotSearched] = field(default_factory=list)


def look(keepers: Keepers, subject: Subject) -> Looked:
    """Where the subject is; nothing is changed."""
    looked = Looked(not_searched=_nobodys(keepers, subject))
    for mine in (subject, _events(keepers.lake, subject)):
        for table in mine.columns:
            for lake, each in _places(keepers.lake, table):
                looked.found.append((lake.location(each), sum(held(lake, each, mine).values())))
                looked.not_searched += _unnamed(lake, each, mine)
    for topic in keepers.misplaced(subject):
        for lake, each in _places(keepers.lake, topic.table):
            looked.found.append((lake.location(each), sum(held(lake, each, subject).values())))
    for topic in [*keepers.topics, *keepers.misplaced(subject)]:
        searched = search(keepers.inbox, topic, subject)
        looked.found.append((f"inbox/{topic.name}", sum(each.removed for each in searched.replacements)))
        looked.not_searched += searched.not_searched
    for store in keepers.stores:
        told = store.erase(subject, dry_run=True)
        looked.found.append((store.name, told.entries))
        looked.not_searched += told.not_searched
    looked.found = [(place, entries) for place, entries in looked.found if entries]
    return looked


def erase(keepers: Keepers, subject: Subject, *, actor: str, reason: str) -> dict[str, Any]:
    """Remove the subject from everything; returns the certificate. Raises LakeError where others never let it finish.

    What Kafka still holds is not removed; it is left out whenever it is landed again. The certificate's `not_searched`
    are places that a person has to see to: they were left as they are.
    """
    stone, _ = ask(keepers.lake, subject.kind, subject.ids, actor, reason)
    fault("asked")
    tables: list[Cleared] = []
    how: list[dict[str, str]] = []
    files, not_searched, theirs = 0, _nobodys(keepers, subject), _events(keepers.lake, subject)

    def cleared(table: str, mine: Subject, replaced: Sequence[Replacement] = ()) -> int:
        found = [
            (clear(lake, each, mine, stone, replaced if each == table else ()), searched_by(lake, each, mine))
            for lake, each in _places(keepers.lake, table)
        ]
        told = [(one, by) for one, by in found if one]
        tables.extend(one for one, _ in told)
        how.extend({"where": one.table, "how": by} for one, by in told)
        return sum(sum(one.rows.values()) for one, _ in told)

    for table in theirs.columns:  # first, while other tables still say which events were the subject's
        cleared(table, theirs)
    places = {**dict.fromkeys(subject.columns), **{t.table: None for t in keepers.misplaced(subject)}}
    for table in places:
        replaced: list[Replacement] = []
        for topic in (t for t in [*keepers.topics, *keepers.misplaced(subject)] if t.table == table):
            searched = search(keepers.inbox, topic, subject)
            replaced += searched.replacements
            not_searched += searched.not_searched
            how.append({"where": f"inbox/{topic.name}", "how": f"each value and word of {searched.files} files"})
        keepers.cleared[table] = keepers.cleared.get(table, 0) + cleared(table, subject, replaced)
        fault("before_files")
        for each in replaced:
            if each.put():
                files += 1
            else:
                not_searched.append(NotSearched(each.place, "changed or gone since it was searched: erase again"))
    for mine in (subject, theirs):
        not_searched += [
            w for t in mine.columns for lake, each in _places(keepers.lake, t) for w in _unnamed(lake, each, mine)
        ]
    stores = {store.name: store.erase(subject, dry_run=False) for store in keepers.stores}
    not_searched += [where for told in stores.values() for where in told.not_searched]
    how += [{"where": store.name, "how": store.how} for store in keepers.stores]
    fault("before_certificate")
    taken = [one for one in tables if one.rows or one.files]
    found = {
        "searched": how,
        "matched": MATCHES,
        "not_searched": [asdict(each) for each in not_searched],
        "beyond": _beyond(keepers, subject),
        "tables": [_told(one) for one in taken],
        "inbox_files": files,
        "stores": {name: {"entries": told.entries, "where": list(told.where)} for name, told in stores.items()},
    }
    rows = sum(sum(one.rows.values()) for one in taken)
    detail = {"erasure": stone.number, "rows": rows, "tables": [one.table for one in taken], "reason": reason}
    if not_searched:
        detail["not_searched"] = len(not_searched)
    entry = AuditLog(keepers.lake.store).append(Draft(actor, "erase", f"{stone.kind}:{stone.hashes[0]}", detail))
    return certify(keepers.lake, stone, {**found, "audit_entry": entry.number})


def _places(lake: Lake, table: str) -> list[tuple[Lake, str]]:
    """A table and its companions in each generation."""
    return [(each, name) for each in lakes(lake, table) for name in companions(table)]


def _nobodys(keepers: Keepers, subject: Subject) -> list[NotSearched]:
    """What lies in the inbox for no topic, and in the lake for no asset."""
    names = [topic.name for topic in (*keepers.topics, *keepers.others)]
    return [*strays(keepers.inbox, names, subject), *strangers(keepers.lake, keepers.tables, subject)]


def _beyond(keepers: Keepers, subject: Subject) -> list[str]:
    """What this erasure does not reach; of the home folder what holds ids of runs alone, or is not the platform's."""
    numbers = [f"files of inbox/{topic.name}, where a number may be anything" for topic in keepers.others]
    home = keepers.inbox.parent
    beside = [each.name for each in sorted(home.iterdir()) if each.name not in _LOOKED_INTO] if home.is_dir() else []
    return [
        *BEYOND,
        *(numbers if subject.numbered else ()),
        *(f"in the home folder: {subject.masked(name)}" for name in beside),
    ]


def _unnamed(lake: Lake, table: str, subject: Subject) -> list[NotSearched]:
    if not unnamed(lake, table, subject):
        return []
    names = ", ".join(sorted(subject.fields))
    why = f"no column of it names the subject, of {names}: make it anew, or delete it"
    return [NotSearched(f"lake/{lake.location(table)}", why)]


def _events(lake: Lake, subject: Subject) -> Subject:
    """The subject's events; of no table where it has none."""
    ids = {one for t in subject.columns for each in lakes(lake, t) for one in events(each, t, subject)}
    return subject.as_events(ids) if ids else replace(subject, columns={})


def _told(one: Cleared) -> dict[str, Any]:
    return {
        "table": one.table,
        "rows": sum(one.rows.values()),
        "partitions": dict(one.rows),
        "versions_removed_before": one.version if one.rows else None,
        "files_removed": one.files,
    }
