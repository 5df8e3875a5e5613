"""A folder of files as a source of messages: a file is a partition, its rows are the offsets, its content is its name.

Writers put a file under a name that starts with a dot and rename it when it is complete.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from convergence.arrivals.codecs import OFFSET, Messages, decode
from convergence.arrivals.topics import Span


@dataclass(frozen=True)
class DropFolder:
    """`<root>/<topic>/*.parquet|csv|csv.gz|jsonl`. The same content twice, under any name, is landed once."""

    root: Path
    _digests: dict[tuple[str, int, int], str] = field(default_factory=dict, repr=False)
    _decoded: dict[str, Messages] = field(default_factory=dict, repr=False)

    def unlanded(self, topic: str, landed: Callable[[str], int | None]) -> Iterator[tuple[str, Path]]:
        """Files whose content has not landed: application id `file/<topic>/<sha256>` and path, by name."""
        seen: set[str] = set()
        for path in sorted((self.root / topic).glob("[!.]*")):
            plain = path.is_file() and not path.is_symlink()  # a link could lead out of the folder
            application = f"file/{topic}/{self._digest(path)}" if plain else None
            if application and application not in seen and landed(application) is None:
                seen.add(application)
                yield application, path

    def spans(self, topic: str, landed: Callable[[str], int | None]) -> Iterator[Span]:
        """The messages that have not landed, a partition at a time; `landed` gives the next offset of a partition."""
        for application, path in self.unlanded(topic, landed):
            messages = decode(path)
            if application != f"file/{topic}/{_sha256(path)}":
                continue  # it was still being written: the next look sees the whole of it
            self._decoded[application] = messages
            offsets = [*messages.rows[OFFSET][-1:], *messages.broken[OFFSET][-1:]]
            yield Span(application, 0, max(offsets, default=-1) + 1, _origin(path, messages))

    def read(self, span: Span) -> Messages:
        """The messages of a span that `spans` has just given."""
        return self._decoded.pop(span.application)

    def _digest(self, path: Path) -> str:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = _sha256(path)
        return self._digests[key]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _origin(path: Path, messages: Messages) -> str:
    described = path.name.lower().endswith(".parquet") and messages.rows.height
    return (pl.read_parquet_metadata(path.read_bytes()).get("origin") if described else None) or "dropped file"
