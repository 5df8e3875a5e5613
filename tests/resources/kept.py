"""What a home keeps, as bytes that can be searched: files, rows of Parquet, and what SQLite holds compressed."""

import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import polars as pl


def kept(home: Path) -> Iterator[tuple[str, bytes]]:
    """Each file below a home: its path there, and all that can be read in it."""
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if content.endswith(b"PAR1"):
            content += str(pl.read_parquet(content).to_dicts()).encode()
        if content.startswith(b"SQLite format 3"):
            content += b"\n".join(_cells(path))
        yield str(path.relative_to(home)), content


def found(home: Path, canaries: Mapping[str, str], *, without: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Which canaries which file holds, below any folder but `without`."""
    held = {
        place: [kind for kind, said in canaries.items() if said.encode() in content]
        for place, content in kept(home)
        if not place.startswith(without or ("\0",))
    }
    return {place: kinds for place, kinds in held.items() if kinds}


def _cells(file: Path) -> Iterator[bytes]:
    """Every cell of every table, as it is and, where it is compressed, as it was: pages split what is long."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in database.execute(f'select * from "{table}"'):
                for cell in row:
                    raw = cell if isinstance(cell, bytes) else str(cell).encode()
                    yield raw
                    with suppress(zlib.error):
                        yield zlib.decompress(raw)
