"""Immutable snapshots of an index, one folder a version, and the alias that says which of them is live.

A snapshot is built beside the others and appears with one rename. Its engine locks and touches what it opens, so every
reader opens a copy of its own: any number of processes read one snapshot, and none of them can change it.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, NamedTuple, Self

import polars as pl

from convergence.errors import IndexMissing, SearchError
from convergence.lake import durable
from convergence.search import alias, sums
from convergence.search.backends import VectorIndex
from convergence.search.contents import ITEM, Points, difference, items_of
from convergence.search.owned_folders import LOCK, copied, owned, sweep
from convergence.search.qdrant_edge_index import EdgeIndex
from convergence.search.server_release import ServerRelease
from convergence.services.processes import one_at_a_time

ABOUT, ITEMS, SHARDS = "index.json", "items.parquet", "shards"
ENGINE = "qdrant-edge-py"
SERVER_LOCK = ".server.lock"
_EMBEDDED = {"name": ENGINE, "version": installed(ENGINE)}

Check = Callable[[Mapping[str, VectorIndex]], Mapping[str, Any]]


class Built(NamedTuple):
    """What a build did; `reused`: the snapshot was there already and nothing was written."""

    version: str
    upserted: int
    deleted: int
    reused: bool


class Snapshot:
    """An opened snapshot; `about` is its index.json. Threads may share it. To be closed, or used as a context."""

    def __init__(
        self, version: str, about: Mapping[str, Any], indexes: Mapping[str, VectorIndex], ends: ExitStack
    ) -> None:
        self.version, self.about, self.indexes = version, about, indexes
        self._ends = ends

    def close(self) -> None:
        """Close the indexes and remove the copy."""
        self._ends.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Snapshots:
    """The snapshots of one use case below `root`, which is made when the first is.

    With a `server`, each snapshot is on it too, and it is the server that is asked; what is live is decided here, and
    the server's aliases follow.
    """

    def __init__(self, root: Path, server: ServerRelease | None = None) -> None:
        self.root, self._server = root, server

    @property
    def engine(self) -> dict[str, str]:
        """Name and version of what is asked."""
        return self._server.engine if self._server else _EMBEDDED

    def build(
        self,
        version: str,
        points: Points,
        about: Mapping[str, Any],
        previous: str | None = None,
        *,
        check: Check | None = None,
    ) -> Built:
        """Make a snapshot, unless it is there; two builds of one version at once leave one.

        Args:
            version: `version_of(points, about)`.
            points: by modality, the whole of it.
            about: goes into index.json, with what was counted and checked.
            previous: a snapshot to copy and change instead of beginning with nothing, where it is on disk.
            check: gets the indexes by modality once they are whole; what it returns is kept as `checks`. If it raises,
                there is no snapshot.

        Raises:
            SearchError: points that do not fit (see VectorIndex), or a version that is no name.
        """
        place = self._place(version)
        if place.exists():
            self._put_on_server(version, points)
            return Built(version, 0, 0, True)
        after = items_of(points)
        with owned(self.root, f"building-{version[:12]}") as folder, ExitStack() as ends:
            before = self._begin(folder, previous, points)
            indexes: dict[str, VectorIndex] = {}
            upserted = deleted = 0
            for modality, rows in points.items():
                if not rows.height:
                    continue
                there, mine = (items.filter(pl.col("modality") == modality) for items in (before, after))
                change = difference(there, mine, rows)
                index = indexes[modality] = _writable(folder / SHARDS / modality, rows)
                ends.callback(index.close)
                index.delete(change.deletes)
                index.upsert(change.upserts)
                index.optimize()
                upserted, deleted = upserted + change.upserts.height, deleted + len(change.deletes)
            sent = self._put_on_server(version, points)
            counts = {modality: index.count() for modality, index in indexes.items()}
            try:
                checks = check(self._server.opened(version, counts) if self._server else indexes) if check else {}
            except BaseException:
                if self._server and sent:
                    self._server.remove(version)
                raise
            ends.close()
            text = json.dumps({**about, "counts": counts, "backend": _EMBEDDED, "checks": checks}, indent=1)
            (folder / ABOUT).write_text(text)
            after.write_parquet(folder / ITEMS)
            sums.seal(folder)
            return (
                Built(version, 0, 0, True) if not _appears(folder, place) else Built(version, upserted, deleted, False)
            )

    def opened(self, version: str) -> Snapshot:
        """A snapshot, in a copy of its own that lasts until it is closed, or on the server.

        Raises:
            IndexMissing: it was never built, or is removed.
            SearchError: it is damaged.
            ServiceError: the server does not answer.
        """
        place = self._place(version)
        if self._server:
            about = self.about(version)
            return Snapshot(version, about, self._server.opened(version, about["counts"]), ExitStack())
        with ExitStack() as ends:
            folder = ends.enter_context(owned(self.root, f"open-{version[:12]}"))
            try:
                copied(place, folder)
            except (OSError, shutil.Error) as error:
                raise IndexMissing(
                    f"index version {version[:12]} is not on disk: expected one of "
                    f"{[name[:12] for name in self.versions()]}; open what is live, or build it again"
                ) from error
            sums.check(folder, folder)
            about = json.loads((folder / ABOUT).read_text())
            indexes: dict[str, VectorIndex] = {}
            for modality in about["counts"]:
                indexes[modality] = index = EdgeIndex.open(folder / SHARDS / modality)
                ends.callback(index.close)
            return Snapshot(version, about, indexes, ends.pop_all())

    def opened_live(self) -> Snapshot | None:
        """The live snapshot as `opened` gives it, also while others switch and prune; None before the first switch."""
        while there := self.live():
            try:
                return self.opened(there.version)
            except IndexMissing:
                if self.live() == there:
                    raise
        return None

    def about(self, version: str) -> dict[str, Any]:
        """The index.json of a snapshot. Raises IndexMissing: it is not on disk. SearchError: it is damaged."""
        try:
            return json.loads((self._place(version) / ABOUT).read_text())
        except FileNotFoundError:
            raise IndexMissing(f"index version {version[:12]} is not on disk: build it again") from None
        except ValueError:
            said = f"index version {version[:12]} has a damaged {ABOUT}"
            raise SearchError(f"{said}: remove its folder and build it again") from None

    def versions(self) -> list[str]:
        """The versions on disk, by name."""
        return sorted(path.parent.name for path in self.root.glob(f"[!.]*/{ABOUT}"))

    def live(self) -> alias.Live | None:
        """What is live; None before the first switch. Raises SearchError where the alias is damaged."""
        return alias.live(self.root)

    def switch(self, version: str, *, expected: str | None, record: Callable[[], object] = lambda: None) -> alias.Live:
        """Let a version be live, at once for every reader that looks from now on.

        Args:
            expected: the version that is live so far, as the caller knows it; None: none is.
            record: puts it on record, before it happens; not called where nothing changes.

        Raises:
            IndexConflict: another one is live by now; nothing was changed.
            IndexMissing: the version is not on disk.
        """
        with one_at_a_time(self.root / LOCK):
            if version not in self.versions():
                raise IndexMissing(f"index version {version[:12]} is not on disk: build it, then switch to it")
            counts = self.about(version)["counts"]
            if self._server:
                self._server.opened(version, counts)  # else nothing is changed
            live = alias.switched(self.root, version, expected, record)
            if self._server:
                self._server.switch(version, counts)  # also what a killed switch left behind
            return live

    def prune(self, *keep: str) -> list[str]:
        """Remove all snapshots but the live one, the one before it, and `keep`; the versions that were removed."""
        with one_at_a_time(self.root / LOCK):
            there = self.live()
            stay = {*keep, *(there[:2] if there else ())}
            gone = [version for version in self.versions() if version not in stay]
            if self._server:
                self._server.remove(*gone)  # first: what is on disk no more is not looked for on the server
            for version in gone:
                (self.root / version).rename(self.root / f".removed-{version}")
            sweep(self.root)
        return gone

    def _put_on_server(self, version: str, points: Points) -> int:
        if not self._server:
            return 0
        with one_at_a_time(self.root / SERVER_LOCK):
            return self._server.build(version, points)

    def _begin(self, folder: Path, previous: str | None, points: Points) -> pl.DataFrame:
        """Copy what can be taken over from the previous snapshot; its items, none where it is to be begun anew."""
        place = self._place(previous) if previous else None
        if place is None or not place.exists():
            return ITEM.to_frame()
        about = self.about(place.name)
        items = pl.read_parquet(place / ITEMS)
        if about["backend"] != _EMBEDDED:
            return items.clear()
        fits = []
        for modality in about["counts"]:
            shard = folder / SHARDS / modality
            if modality not in points or not points[modality].height:
                continue
            copied(place / SHARDS / modality, shard)
            sums.check(folder, place, f"{SHARDS}/{modality}")
            if EdgeIndex.dimension_of(shard) == _dimension(points[modality]):
                fits.append(modality)
            else:
                shutil.rmtree(shard)
        return items.filter(pl.col("modality").is_in(fits))

    def _place(self, version: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", version):
            raise SearchError(
                f"index version {version[:40]!r}: expected letters and digits, as `version_of` gives them"
            )
        return self.root / version


def _dimension(rows: pl.DataFrame) -> int:
    return len(rows["vector"][0])


def _writable(shard: Path, rows: pl.DataFrame) -> EdgeIndex:
    return EdgeIndex.open(shard) if shard.exists() else EdgeIndex.create(shard, _dimension(rows))


def _appears(folder: Path, place: Path) -> bool:
    """Give a whole folder its name; False where another build was first."""
    with ThreadPoolExecutor(8) as pool:  # syncs at once share their commits of the file system's journal
        list(pool.map(durable.settle, [*folder.rglob("*"), folder]))
    try:
        folder.rename(place)
    except OSError:
        if not place.exists():
            raise
        return False
    durable.settle(place.parent)
    return True


def snapshots_at(home: Path, use_case: str, server: str | None = None, key: str | None = None) -> Snapshots:
    """The snapshots of a use case below a home, and on a Qdrant server where its URL is given, with its API key.

    Raises SettingsError where `server` is no URL.
    """
    from convergence.search.qdrant_server_index import connect

    return Snapshots(home / "indexes" / use_case, ServerRelease(connect(server, key), use_case) if server else None)
