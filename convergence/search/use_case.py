"""What a use case declares to be searched: where its index and its encoders are."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from convergence.errors import EncoderMismatch

if TYPE_CHECKING:
    from convergence.lake.tables import Lake
    from convergence.search.encoders import StoredEncoder


@dataclass(frozen=True)
class SearchedUseCase:
    """A use case with an index that is searched; `encoders`: the table that each of its encoders was committed to."""

    name: str
    encoders: str

    def folder(self, home: Path) -> Path:
        """Where the snapshots of its index are."""
        return home / "indexes" / self.name


def encoders_named(lake: "Lake", table: str, digests: Collection[str]) -> dict[str, "StoredEncoder"]:
    """The encoders of these digests, by role.

    Raises:
        EncoderMismatch: the table has not all of them.
        EncoderError: a row is not what it was when it was stored.
        TableMissing: there is no such table.
    """
    from convergence.search.encoders import StoredEncoder

    wanted = pl.col("digest").is_in(list(digests))
    rows = lake.scan(table).filter(wanted).unique(["digest", "role"], keep="any").collect()
    if missing := set(digests) - set(rows["digest"]):
        raise EncoderMismatch(
            f"{table} does not hold the encoder {min(missing)} that the index was made with: materialize {table} as it "
            "was then, or build the index anew"
        )
    return {row["role"]: StoredEncoder.from_row(row) for row in rows.iter_rows(named=True)}
