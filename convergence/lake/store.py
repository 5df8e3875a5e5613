"""The files of a lake as plain objects, for what is below Delta: data files, log entries, the pointer."""

from collections.abc import Mapping
from pathlib import Path

from obstore.store import MemoryStore, ObjectStore, from_url

from convergence.lake.durable import make_folder


def open_store(root: str, storage_options: Mapping[str, str], *, reading: bool = False) -> ObjectStore:
    """A folder, or an S3-compatible URL with delta-rs `storage_options`.

    A folder is made if need be; who is only `reading` finds nothing in one that is not there.
    """
    if "://" not in root:
        folder = Path(root).resolve()
        if reading and not folder.exists():
            return MemoryStore()
        make_folder(folder)
        return from_url(folder.as_uri())
    config = {k.lower(): v for k, v in storage_options.items() if k.lower() not in ("aws_allow_http",)}
    http = storage_options.get("AWS_ALLOW_HTTP") == "true"
    return from_url(root, config=config, client_options={"allow_http": http})  # pyright: ignore[reportArgumentType, reportCallIssue]
