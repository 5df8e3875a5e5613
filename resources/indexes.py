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
        from convergence.search.qdrant_server_index import connect
        from convergence.search.server_release import ServerRelease
        from convergence.search.snapshots import Snapshots

        server = ServerRelease(connect(self.server, self.key), use_case) if self.server else None
        return Snapshots(Path(self.home) / "indexes" / use_case, server)
