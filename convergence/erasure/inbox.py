"""Landed files that still hold a subject are written anew without it, and count as landed under their new name.

A file's content is its name in the lake, so the new one is announced in the very commit that removes the rows.
"""

import csv
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import polars as pl

from convergence.arrivals.codecs import OFFSET
from convergence.arrivals.erased import forms
from convergence.arrivals.files import decode
from convergence.arrivals.topics import Topic
from convergence.erasure.subjects import Subject


@dataclass(frozen=True)
class Replacement:
    """A file of the inbox and what takes its place, as the lake names both; `removed` messages fewer."""

    path: Path
    content: bytes
    before: str
    after: str
    messages: int
    removed: int

    def put(self) -> None:
        """Let the new content take the file's place, in one step."""
        written = self.path.with_name(f".{self.path.name}.erasing")
        written.write_bytes(self.content)
        written.replace(self.path)


def replacements(inbox: Path, topic: Topic, subject: Subject) -> list[Replacement]:
    """What takes the place of each file that holds the subject. A file that no lander can read is left alone."""
    found = []
    for path in sorted((inbox / topic.name).glob("[!.]*")):
        if not path.is_file() or path.is_symlink():
            continue
        rewrite = next((do for ending, do in _WRITERS.items() if path.name.lower().endswith(ending)), None)
        before = path.read_bytes()
        try:
            content, removed = rewrite(before, subject) if rewrite else (before, 0)
        except (pl.exceptions.PolarsError, OSError, EOFError, ValueError, csv.Error):
            continue
        if removed:
            was, now = (f"file/{topic.name}/{sha256(each).hexdigest()}" for each in (before, content))
            found.append(Replacement(path, content, was, now, _messages(path, content, topic), removed))
    return found


def _messages(path: Path, content: bytes, topic: Topic) -> int:
    """How far the offsets of a file with this content reach, as landing counts them."""
    written = path.with_name(f".counting.{path.name}")
    written.write_bytes(content)
    try:
        told = decode(written, topic.columns, topic.renames)
    finally:
        written.unlink()
    return max([*told.rows[OFFSET][-1:], *told.broken[OFFSET][-1:]], default=-1) + 1


def _parquet(content: bytes, subject: Subject) -> tuple[bytes, int]:
    frame = pl.read_parquet(content)
    held = subject.rows_of(frame)
    about = {k: v for k, v in pl.read_parquet_metadata(content).items() if k != "ARROW:schema"}
    written = BytesIO()
    frame.filter(~held).write_parquet(written, metadata=about)
    return written.getvalue(), int(held.sum())


def _lines(content: bytes, subject: Subject) -> tuple[bytes, int]:
    lines = content.splitlines(keepends=True)
    kept = [line for line in lines if not subject.named_in(line.decode(errors="replace"))]
    return b"".join(kept), len(lines) - len(kept)


def _csv(content: bytes, subject: Subject) -> tuple[bytes, int]:
    """Only whole lines go, so that what stays is as it was; a value with a line break keeps its lines together."""
    text = content.decode("utf-8", errors="surrogateescape")
    lines, starts, records = text.splitlines(keepends=True), [0], []
    reader = csv.reader(lines)
    for record in reader:
        records.append(record)
        starts.append(reader.line_num)
    header = [name.removeprefix("\ufeff") for name in records[0]] if records else []
    places = [n for n, name in enumerate(header) if name in subject.fields]

    def held(record: list[str]) -> bool:
        values = [record[n] for n in places if n < len(record)]
        return not all(subject.ids.isdisjoint(forms(value)) for value in values) or (
            len(record) > len(header) and subject.named_in(",".join(record))
        )

    gone = [n for n, record in enumerate(records) if n and held(record)]
    dropped = {line for n in gone for line in range(starts[n], starts[n + 1])}
    kept = "".join(line for n, line in enumerate(lines) if n not in dropped)
    return kept.encode("utf-8", errors="surrogateescape"), len(gone)


def _zipped(content: bytes, subject: Subject) -> tuple[bytes, int]:
    kept, removed = _csv(gzip.decompress(content), subject)
    return gzip.compress(kept, mtime=0), removed


_WRITERS: Mapping[str, Callable[[bytes, Subject], tuple[bytes, int]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".csv.gz": _zipped,
    ".jsonl": _lines,
}
