"""A folder of files as a source of messages: a file is a partition, its rows are the offsets, its content is its name.

Writers put a file under a name that starts with a dot and rename it when it is complete.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from convergence.arrivals.codecs import OFFSET, Messages
from convergence.arrivals.files import decode
from convergence.arrivals.topics import Arrived, NextOffset, Span, Topic
from convergence.errors import ArrivalError

_MOST_HELD = 2**28  # bytes of files and their rows in a batch, unless a single file has more


@dataclass(frozen=True)
class DropFolder:
    """`<root>/<topic>/*.parquet|csv|csv.gz|jsonl`. The same content twice, under any name, is landed once."""

    root: Path
    name = "drop folder"

    def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
        """Files whose content has not landed, as one message each: application id `file/<topic>/<sha256>`.

        Raises ArrivalError if the folder is a link.
        """
        return [Span(application, 0, 1, path.name) for application, path in self._unlanded(topic, landed)]

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        """Whole files by name, as many as hold about `rows` messages, fewer where these are large."""
        batch: list[Arrived] = []
        held = 0
        for application, path in self._unlanded(topic, landed):
            messages = decode(path, topic.columns, topic.renames)
            if application != f"file/{topic.name}/{_sha256(path)}":
                continue  # it was still being written: the next look sees the whole of it
            offsets = [*messages.rows[OFFSET][-1:], *messages.broken[OFFSET][-1:]]
            span = Span(application, 0, max(offsets, default=-1) + 1, _origin(path, messages))
            batch.append(Arrived(span, lambda messages=messages: messages))
            held += path.stat().st_size + int(messages.rows.estimated_size())
            if held >= _MOST_HELD or sum(arrived.span.end for arrived in batch) >= rows:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _unlanded(self, topic: Topic, landed: NextOffset) -> Iterator[tuple[str, Path]]:
        seen: set[str] = set()
        folder = self.root / topic.name
        if folder.is_symlink():
            raise ArrivalError(
                f"{folder} is a link, and links in a drop folder are not followed. Nothing of it was landed. Make it a "
                "folder and move the files there"
            )
        for path in sorted(folder.glob("[!.]*")):
            if not path.is_file() or path.is_symlink():  # a link could lead out of the folder
                continue
            try:
                stat = path.stat()
                application = f"file/{topic.name}/{_digest(str(path), stat.st_size, stat.st_mtime_ns)}"
            except FileNotFoundError:
                continue  # it was taken away meanwhile
            if application not in seen and landed(application) is None:
                seen.add(application)
                yield application, path


@lru_cache(maxsize=100_000)
def _digest(path: str, size: int, modified: int) -> str:
    """Kept for as long as the file looks the same: every tick of a sensor asks for all of them."""
    return _sha256(Path(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _origin(path: Path, messages: Messages) -> str:
    if not path.name.lower().endswith(".parquet") or messages.rows.is_empty():
        return "dropped file"
    with path.open("rb") as file:
        return pl.read_parquet_metadata(file).get("origin", "dropped file")
