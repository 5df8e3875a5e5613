"""Where snapshots of indexes are: folders under the platform's home, and a Qdrant server where one is set."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from convergence.search.snapshots import Snapshots


class Indexes(dg.ConfigurableResource):
    """Snapshots below `<home>/indexes/<use case>`.

    `server`: the URL of a Qdrant server, which is then asked instead of the folders; `key`: its API key.
    """

    home: str
    server: str | None = None
    key: str | None = None

    def snapshots(self, use_case: str) -> "Snapshots":
        """The snapshots of one use case. Raises SettingsError where `server` is no URL."""
        from convergence.search.snapshots import snapshots_at

        return snapshots_at(Path(self.home), use_case, self.server, self.key)
