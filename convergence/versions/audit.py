"""Who did what to the platform and when: an append-only log in the lake, each entry chained to the one before.

Entries are objects that are only ever created, `_audit/<number>.json`: a folder and a bucket both refuse to create a
name twice, so concurrent writers all succeed, in some order. `_audit/head.json` repeats the newest number and hash, so
that a lost end is noticed. Whoever may write the whole folder can also write the whole log anew: only a head that was
noted elsewhere (`verify(known=...)`) shows that.
"""

import json
import os
import pwd
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore

from convergence.errors import LakeError
from convergence.lake import durable

BEGINNING = "0" * 64  # the hash before the first entry

FOLDER = "_audit"
_HEAD = f"{FOLDER}/head.json"
_CHUNK = 32  # entries that are read at once


def process_user() -> str:
    """Who this process runs as, for the record: by its number, for the environment may name anybody."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in containers that run under a number
        return f"uid {os.getuid()}"


class Draft(NamedTuple):
    """What is to be put on record. `detail` holds what JSON can hold, and no NaN."""

    actor: str
    action: str  # promote, rollback, refuse, canary, erase ...
    subject: str  # what it was done to, e.g. fraud_model
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One line of the log."""

    number: int  # from 1
    at: str  # ISO 8601, UTC
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    previous: str  # hash of the entry before
    hash: str = field(default="")

    def sealed(self) -> "Entry":
        """The same entry with the hash of everything else in it."""
        return Entry(**{**asdict(self), "hash": sha256(_canonical({**asdict(self), "hash": ""})).hexdigest()})


class Head(NamedTuple):
    """The end of a log."""

    number: int
    hash: str


class Checked(NamedTuple):
    """What `verify` found: the end of what is in order, and the first thing that is not, in words."""

    head: Head
    fault: str | None


@dataclass(frozen=True)
class AuditLog:
    """The log of a lake, given the lake's files."""

    store: ObjectStore

    def append(self, draft: Draft | Callable[[], Draft]) -> Entry:
        """Put an entry on record; a function is asked for it again if somebody else was first, so it may decide by
        what the log says and be right.

        Raises LakeError where entries are missing at the end: they would be covered up.
        """
        while True:
            last = self._last()
            what = draft() if callable(draft) else draft
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            detail = dict(what.detail)
            entry = Entry(
                last.number + 1, at, what.actor, what.action, what.subject, detail, last.hash
            ).sealed()  # fmt: skip
            try:
                durable.put(self.store, _path(entry.number), _canonical(asdict(entry)), mode="create")
            except AlreadyExistsError:
                continue
            durable.put(self.store, _HEAD, _canonical(Head(entry.number, entry.hash)._asdict()))
            return entry

    def entry(self, number: int) -> Entry:
        """One entry. Raises LakeError where it is missing or no entry."""
        try:
            return Entry(**json.loads(self._read(_path(number))))
        except (BaseError, OSError, ValueError, TypeError) as error:
            raise LakeError(
                f"entry {number} of the audit log cannot be read ({type(error).__name__}); `convergence audit verify`"
            ) from error

    def entries(self, subject: str | None = None) -> list[Entry]:
        """All entries, oldest first, or those of one subject."""
        return [e for e in self._many(range(1, self._last().number + 1)) if subject in (None, e.subject)]

    def newest(self, subject: str, actions: Collection[str]) -> Entry | None:
        """The newest entry of a subject with one of these actions, read from the end backwards."""
        for last in range(self._last().number, 0, -_CHUNK):
            for entry in reversed(self._many(range(max(1, last - _CHUNK + 1), last + 1))):
                if entry.subject == subject and entry.action in actions:
                    return entry
        return None

    def verify(self, known: Head | None = None) -> Checked:
        """Whether every entry is as it was written, none is missing, added or moved. `known`: a head noted elsewhere.

        Without `known` it cannot be told that the end was cut off and `head.json` with it, or that the log was written
        anew from some entry on with all hashes computed again.
        """
        names = sorted(m["path"] for batch in obstore.list(self.store, prefix=f"{FOLDER}/") for m in batch)
        there = [name for name in names if name != _HEAD]
        before = Head(0, BEGINNING)
        hashes = {}
        with ThreadPoolExecutor(max_workers=_CHUNK) as pool:
            for name, content in zip(there, pool.map(self._read, there), strict=True):
                fault = _fault(name, content, before)
                if fault:
                    return Checked(before, fault)
                before = Head(before.number + 1, json.loads(content)["hash"])
                hashes[before.number] = before.hash
        anchors = {"head.json": self._head()} | ({"the head noted elsewhere": known} if known else {})
        for source, head in anchors.items():
            if head is None and hashes:
                return Checked(
                    before, f"{source} is missing: whether entries after {before.number} were removed is open"
                )
            if head and head.number > before.number:
                lost = f"entries {before.number + 1} to {head.number} were removed from the end"
                return Checked(before, f"{lost}: {source} is further")
            if head and head.number and hashes[head.number] != head.hash:
                return Checked(
                    before, f"entry {head.number} was replaced, or one before it: {source} knows another hash"
                )
        return Checked(before, None)

    def _last(self) -> Head:
        """The end of the log. Raises LakeError where head.json knows a later one."""
        anchor = self._head()
        start = anchor.number if anchor else 0
        after = f"{FOLDER}/{start:010}"
        listed = [m["path"] for b in obstore.list(self.store, prefix=f"{FOLDER}/", offset=after) for m in b]
        numbers = [n for n in map(_number, listed) if n]
        newest = max(numbers, default=0)
        if newest < start:
            raise LakeError(
                f"the audit log ends at entry {newest or 'none'} before {start}, its newest by head.json: entries were "
                "removed; nothing was written. `convergence audit verify` says more; restore the lake's _audit folder"
            )
        return Head(newest, self.entry(newest).hash) if newest else Head(0, BEGINNING)

    def _head(self) -> Head | None:
        try:
            return Head(**json.loads(self._read(_HEAD)))
        except (NotFoundError, FileNotFoundError):
            return None
        except (ValueError, TypeError) as error:
            raise LakeError(f"{_HEAD} cannot be read ({error}): restore it, or note the loss and remove it") from error

    def _many(self, numbers: Iterable[int]) -> list[Entry]:
        with ThreadPoolExecutor(max_workers=_CHUNK) as pool:
            return list(pool.map(self.entry, numbers))

    def _read(self, path: str) -> bytes:
        return bytes(obstore.get(self.store, path).bytes())


def _fault(name: str, content: bytes, before: Head) -> str | None:
    """What is wrong with the object that stands after entry `before`, if anything."""
    number = before.number + 1
    found = _number(name)
    if found is None or found < number:
        return f"{name} was inserted: it is no entry of the log"
    if found > number:
        return f"entry {number} was removed"
    try:
        entry = Entry(**json.loads(content))
        intact = entry.sealed().hash == entry.hash and _canonical(asdict(entry)) == content
    except (ValueError, TypeError):
        return f"entry {number} was changed: it cannot be read"
    if not intact:
        return f"entry {number} was changed: its content does not give its hash"
    if entry.number != number:
        return f"entry {number} was moved: it was written as entry {entry.number}"
    if entry.previous != before.hash:
        return f"entry {number} does not follow the one before it: entry {number - 1} or {number} was replaced"
    return None


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _path(number: int) -> str:
    return f"{FOLDER}/{number:010}.json"


def _number(path: str) -> int | None:
    found = re.fullmatch(rf"{FOLDER}/(\d{{10}})\.json", path)
    return int(found[1]) if found else None
