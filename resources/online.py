"""The online store as a resource: the Redis server that CONVERGENCE_REDIS names, or an embedded one."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from redis import Redis


class Online(dg.ConfigurableResource):
    """Where the online states are. `url` None: the embedded server of `home`."""

    home: str
    url: str | None = None

    def client(self) -> "Redis":
        """A client that waits as long as it takes: for filling, not for answering requests."""
        from convergence.services.redis import connect

        return connect(self.url, Path(self.home))
