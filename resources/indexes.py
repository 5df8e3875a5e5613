"""Where snapshots of indexes are: folders under the platform's home."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from convergence.search.snapshots import Snapshots


class Indexes(dg.ConfigurableResource):
    """Snapshots below `<home>/indexes/<use case>`."""

    home: str

    def snapshots(self, use_case: str) -> "Snapshots":
        """The snapshots of one use case."""
        from convergence.search.snapshots import Snapshots

        return Snapshots(Path(self.home) / "indexes" / use_case)
