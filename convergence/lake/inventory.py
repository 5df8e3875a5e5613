"""Which tables a lake holds, read from the store itself."""

import obstore

from convergence.errors import LakeError
from convergence.lake.manifests import MANIFESTS
from convergence.lake.tables import Lake


def tables(lake: Lake) -> list[str]:
    """Every table of every use case, by name, and the table of manifests."""
    found: set[str] = set()
    for use_case in _folders(lake, None):
        name = use_case.partition("@")[0]  # of whichever generation
        if not name.startswith("_"):
            found |= {f"{name}/{folder.rpartition('/')[2]}" for folder in _folders(lake, use_case)}
    return [name for name in [*sorted(found), MANIFESTS] if _is_there(lake, name)]


def _is_there(lake: Lake, table: str) -> bool:
    try:
        return lake.open(table) is not None
    except LakeError:  # damaged is not gone
        return True


def _folders(lake: Lake, prefix: str | None) -> list[str]:
    return [f.rstrip("/") for f in obstore.list_with_delimiter(lake.store, prefix)["common_prefixes"]]
