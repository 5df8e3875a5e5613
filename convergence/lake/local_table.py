"""A table in a folder, whatever the folder's name."""

from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable


class LocalTable(DeltaTable):
    """Delta escapes what is not plain ASCII in a folder's name, and Polars 2.1 looks for the files under that name."""

    @property
    def table_uri(self) -> str:
        """Where it lies, as the file system names it."""
        return unquote(super().table_uri)

    def file_uris(self, *filters: Any, **pruning: Any) -> list[str]:
        """Its files, as the file system names them."""
        return [unquote(uri) for uri in super().file_uris(*filters, **pruning)]
