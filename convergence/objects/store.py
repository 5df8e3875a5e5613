"""Bytes by their sha256, in a folder or a bucket: what has a name can never change, so it is written only once.

Names are hashes, so equal content is stored once whoever sends it, and whoever reads can tell that it is unharmed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from convergence.errors import ObjectError
from convergence.lake import durable
from convergence.lake.store import open_store

_NAME = re.compile(r"[0-9a-f]{64}")


class Stored(NamedTuple):
    """The name of the content, 64 hexadecimal digits, and whether it was not there before."""

    sha256: str
    new: bool


@dataclass(frozen=True)
class Objects:
    """Immutable content under `<first 2 digits>/<64 digits>`. Any number of threads and processes may use one store."""

    store: ObjectStore

    @classmethod
    def at(cls, root: str, storage_options: Mapping[str, str] | None = None) -> "Objects":
        """A folder, which is made if need be, or an S3-compatible URL with delta-rs `storage_options`."""
        return cls(open_store(root, storage_options or {}))

    def put(self, content: bytes) -> Stored:
        """Keep `content`; what is there already is neither sent nor written again. Raises ObjectError: it cannot."""
        name = sha256(content).hexdigest()
        if self.has(name):
            return Stored(name, new=False)
        try:
            durable.put(self.store, _path(name), content, mode="create")
        except AlreadyExistsError:  # somebody else has put it since
            return Stored(name, new=False)
        except BaseError as error:
            raise _unusable("kept", error) from error
        return Stored(name, new=True)

    def get(self, name: str) -> bytes:
        """The content whose sha256 is `name`. Raises ObjectError if it is not there, or is not that content."""
        try:
            content = bytes(obstore.get(self.store, _path(name)).bytes())
        except FileNotFoundError:
            raise ObjectError(f"there is no object {name}. Land the message that named it again.") from None
        except BaseError as error:
            raise _unusable("read", error) from error
        if (found := sha256(content).hexdigest()) != name:
            raise ObjectError(
                f"object {name} was damaged in the store: its {len(content)} bytes have sha256 {found}. "
                f"Remove {_path(name)} from the store and put the original again."
            )
        return content

    def has(self, name: str) -> bool:
        """Whether there is content under `name`; whether it is unharmed, `get` tells. Raises ObjectError: no name."""
        try:
            obstore.head(self.store, _path(name))
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise _unusable("looked for", error) from error
        return True


def _unusable(what: str, error: BaseError) -> ObjectError:
    """Without the engine's own words, which name folders and addresses; they are the cause that a log shows."""
    return ObjectError(
        f"an object could not be {what} ({type(error).__name__}): expected a store that can be written to and has "
        "room. Look at its folder or bucket, and try again."
    )


def _path(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ObjectError(
            f"an object is named by its sha256, 64 hexadecimal digits in lower case; found {len(name)} characters that "
            "are not. Take the name from the message or from what put() returned."
        )
    return f"{name[:2]}/{name}"
