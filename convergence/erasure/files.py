"""What lies beside the lake's tables as files: served lines, ledgers of what was sent, rows of released models."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import obstore
import polars as pl
from obstore.store import ObjectStore

from convergence.erasure.subjects import Erased, NotSearched, Subject
from convergence.models.kept import FOLDER as MODELS


@dataclass(frozen=True)
class ServedLines:
    """Everything under `<home>/served`: lines of JSON, which servers may add to meanwhile."""

    folder: Path
    name = "served log"
    how = "each value of each line"

    def erase(self, subject: Subject, *, dry_run: bool) -> Erased:
        """Remove the lines that name the subject."""
        files = [file for file in _files(self.folder) if file.suffix == ".jsonl"]
        counts = {f"{file.relative_to(self.folder)}": self._cut(file, subject, dry_run) for file in files}
        found = {file: count for file, count in counts.items() if count}
        return Erased(sum(found.values()), sorted(found), _others(self.folder, files, subject, "no lines of ours"))

    def _cut(self, file: Path, subject: Subject, dry_run: bool) -> int:
        with file.open("rb") as opened:
            kept, removed = _without(opened.read(), subject)
            if dry_run or not removed:
                return removed
            written = file.with_name(f".{file.name}.erasing")
            written.write_bytes(kept)
            written.chmod(file.stat().st_mode)
            written.replace(file)
            more, also = _without(opened.read(), subject)  # what a server has added to the former file meanwhile
        if more:
            with file.open("ab", buffering=0) as now:
                now.write(more)
        return removed + also


@dataclass(frozen=True)
class Ledgers:
    """`<home>/ledgers`: which message with which key was sent to a broker."""

    folder: Path
    name = "ledgers"
    how = "the key of each message"

    def erase(self, subject: Subject, *, dry_run: bool) -> Erased:
        """Remove the subject's messages from the ledgers of topics that have it as their key."""
        where, entries, read = [], 0, []
        for file in (each for each in _files(self.folder) if each.suffix == ".parquet"):
            try:
                frame = pl.read_parquet(file)
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
                continue
            read.append(file)
            mine = frame["key"].is_in(sorted(subject.ids)).fill_null(False) if "key" in frame.columns else None
            if mine is None or not mine.any():
                continue
            where.append(file.name)
            entries += int(mine.sum())
            if not dry_run:
                written = file.with_name(f".{file.name}.erasing")
                frame.filter(~mine).write_parquet(written)
                written.replace(file)
        return Erased(entries, where, _others(self.folder, read, subject, "no ledger that can be read"))


@dataclass(frozen=True)
class KeptModels:
    """Rows of released models: one that names the subject in a column goes as a whole, for it is opened by its hash."""

    store: ObjectStore
    name = "released models"
    how = "columns that name the subject"

    def erase(self, subject: Subject, *, dry_run: bool) -> Erased:
        """Remove the kept rows that name the subject."""
        paths = sorted(meta["path"] for batch in obstore.list(self.store, prefix=f"{MODELS}/") for meta in batch)
        named = {path: self._names(path, subject) for path in paths}
        mine = [path for path, names in named.items() if names]
        for path in () if dry_run else mine:
            obstore.delete(self.store, path)
        unread = [NotSearched(f"lake/{path}", "no Parquet that can be read") for path, n in named.items() if n is None]
        return Erased(len(mine), mine, unread)

    def _names(self, path: str, subject: Subject) -> bool | None:
        content = BytesIO(bytes(obstore.get(self.store, path).bytes()))
        try:
            columns = subject.fields & set(pl.read_parquet_schema(content))
            return bool(columns) and bool(subject.rows_of(pl.read_parquet(content, columns=sorted(columns))).any())
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return None


def _files(folder: Path) -> Iterator[Path]:
    yield from (file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink())


def _others(folder: Path, read: Collection[Path], subject: Subject, what: str) -> list[NotSearched]:
    """What else lies there."""
    there = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return [
        NotSearched(subject.masked(f"{path.relative_to(folder.parent)}"), what) for path in there if path not in read
    ]


def _without(content: bytes, subject: Subject) -> tuple[bytes, int]:
    lines = content.splitlines(keepends=True)
    kept = [line for line in lines if not subject.named_in(line.decode(errors="replace"))]
    return b"".join(kept), len(lines) - len(kept)
