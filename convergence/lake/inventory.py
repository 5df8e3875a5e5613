"""Which tables a lake holds, read from the store itself."""

import obstore

from convergence.lake.manifests import MANIFESTS
from convergence.lake.tables import Lake


def tables(lake: Lake) -> list[str]:
    """Every table of every use case, by name, and the table of manifests."""
    found: set[str] = set()
    for use_case in _folders(lake, None):
        name = use_case.partition("@")[0]  # of whichever generation
        if not name.startswith("_"):
            found |= {f"{name}/{folder.rpartition('/')[2]}" for folder in _folders(lake, use_case)}
    return [name for name in [*sorted(found), MANIFESTS] if lake.open(name) is not None]


def _folders(lake: Lake, prefix: str | None) -> list[str]:
    return [f.rstrip("/") for f in obstore.list_with_delimiter(lake.store, prefix)["common_prefixes"]]
