"""Which data subjects were erased. The record outlives them and must not name them: it holds keyed hashes alone.

An erasure is an object `_erasures/<number>.json`, which is only ever created. Every table that it looks through gets
its number in a commit (application id ERASURE), so a writer that has not heard of it loses the race for that commit.
"""

import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import obstore
import polars as pl
from obstore.exceptions import AlreadyExistsError, NotFoundError

from convergence.errors import Erased, LakeError
from convergence.lake import durable
from convergence.lake.tables import Lake

FOLDER = "_erasures"
KEY_FILE = "erasure.key"

Key = bytes


@dataclass(frozen=True)
class Tombstone:
    """One erasure that was asked for: of whom, as keyed hashes of the id in each form that a table gives it."""

    number: int
    kind: str  # of subject, e.g. customer
    hashes: list[str]
    asked_at: str  # ISO time
    actor: str
    reason: str


@dataclass(frozen=True)
class Erasures:
    """Every erasure asked for so far, as landing needs them: whether an id is that of an erased subject."""

    tombstones: tuple[Tombstone, ...] = ()
    key: Key = field(default=b"", repr=False)

    @property
    def number(self) -> int:
        """Of the newest; 0 for none."""
        return self.tombstones[-1].number if self.tombstones else 0

    @cached_property
    def _hashes(self) -> dict[str, frozenset[str]]:
        kinds = {stone.kind for stone in self.tombstones}
        return {kind: frozenset(h for s in self.tombstones if s.kind == kind for h in s.hashes) for kind in kinds}

    def concern(self, kinds: Iterable[str]) -> bool:
        """Whether a subject of one of these kinds was erased."""
        return not self._hashes.keys().isdisjoint(kinds)

    def erased(self, kind: str, ids: pl.Series) -> pl.Series:
        """Which of these ids belong to an erased subject; Boolean, of the same length."""
        texts = ids.cast(pl.String)
        gone = [i for i in texts.unique().drop_nulls() if keyed_hash(self.key, kind, i) in self._hashes.get(kind, ())]
        return texts.is_in(gone).fill_null(False)


def keyed_hash(key: Key, kind: str, subject: str) -> str:
    """What stands for a subject on record; without the key nobody can try ids until one fits."""
    return blake2b(f"{kind}:{subject}".encode(), key=key, digest_size=16).hexdigest()


def newest(lake: Lake) -> int:
    """The number of the newest erasure asked for; 0 for none."""
    return max(_numbers(lake), default=0)


def erasures(lake: Lake) -> Erasures:
    """All of them. Raises LakeError where there are some and their key is not here: landing would bring them back."""
    numbers = sorted(_numbers(lake))
    if not numbers:
        return Erasures()
    stones = [Tombstone(**json.loads(bytes(obstore.get(lake.store, _stone(n)).bytes()))) for n in numbers]
    return Erasures(tuple(stones), _key(lake, create=False))


def ask(lake: Lake, kind: str, ids: Iterable[str], actor: str, reason: str) -> tuple[Tombstone, Key]:
    """Put on record that a subject is to be erased; an erasure of it that never ended is taken up again.

    `ids`: its id as each table writes it. From now on no landing that looks takes in a row of it.
    """
    there = erasures(lake)
    key = there.key or _key(lake, create=True)
    hashes = sorted({keyed_hash(key, kind, i) for i in ids})
    for stone in there.tombstones:
        if stone.kind == kind and set(hashes) <= set(stone.hashes) and certificate(lake, stone.number) is None:
            return stone, key
    number = there.number
    while True:
        number += 1
        stone = Tombstone(number, kind, hashes, _now(), actor, reason)
        if _create(lake, _stone(number), asdict(stone)):
            return stone, key


def certify(lake: Lake, stone: Tombstone, found: Mapping[str, Any]) -> dict[str, Any]:
    """Write the certificate of an erasure that is complete, once."""
    content = {**asdict(stone), "completed_at": _now(), **found}
    _create(lake, _certificate(stone.number), content)
    return content


def certificate(lake: Lake, number: int) -> dict[str, Any] | None:
    """The certificate of an erasure; None while it is not complete."""
    try:
        return json.loads(bytes(obstore.get(lake.store, _certificate(number)).bytes()))
    except (NotFoundError, FileNotFoundError):
        return None


def erased_since(lake: Lake, table: str, version: int) -> Erased | None:
    """The error that says that rows of a table's version were erased since then, and when; None if none were."""
    since = [c for c in lake.commits(table, version) if c.manifest.get("erased")]
    if not since:
        return None
    number = since[-1].manifest["erasure"]
    days = sorted({day for c in since if c.manifest["erasure"] == number for day in c.manifest["erased"]})
    where = f"{len(days)} of its partitions, {days[0]} to {days[-1]}," if days[0] else "it"
    return Erased(
        f"{table} cannot be read as of version {version} any more: a data subject was erased from {where} on "
        f"{since[-1].timestamp.astimezone(UTC):%Y-%m-%d} (certificate {number}), and the files of before were removed. "
        "What was made from them cannot be made again; make it anew from what is there now. "
        f"{FOLDER}/{number:010}.certificate.json says what went"
    )


def _key(lake: Lake, *, create: bool) -> Key:
    if lake.home is None and "://" in lake.root:
        raise LakeError(f"this lake has no home folder, where {KEY_FILE} lies: open it by the platform's settings")
    path = Path(lake.home or Path(lake.root).parent) / KEY_FILE
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole, name = tempfile.mkstemp(dir=path.parent, prefix=".")  # mode 600
        with os.fdopen(whole, "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # from an erasure that went no further
            os.link(name, path)
        Path(name).unlink()
    try:
        return path.read_bytes()
    except OSError as error:
        raise LakeError(
            f"{KEY_FILE} cannot be read in the home folder ({type(error).__name__}), and without it nobody can tell "
            "which rows belong to an erased subject: nothing was landed. Copy it from where the erasure was run"
        ) from error


def _numbers(lake: Lake) -> list[int]:
    names = (meta["path"] for batch in obstore.list(lake.store, prefix=f"{FOLDER}/") for meta in batch)
    return [int(found[1]) for name in names if (found := re.search(r"/(\d{10})\.json$", name))]


def _stone(number: int) -> str:
    return f"{FOLDER}/{number:010}.json"


def _certificate(number: int) -> str:
    return f"{FOLDER}/{number:010}.certificate.json"


def _create(lake: Lake, path: str, content: Mapping[str, Any]) -> bool:
    try:
        durable.put(lake.store, path, json.dumps(content, indent=1).encode(), mode="create")
    except AlreadyExistsError:
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
