"""From the address in a message to bytes: only from places that were named in advance, whatever the message says.

A message comes from strangers, so its address is an attack until it is shown to be none (A-20): each kind of address
has one way of its own below, and what has none is refused.
"""

import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from convergence.errors import FetchRefused
from convergence.objects.images import MOST_BYTES
from convergence.objects.store import Objects
from convergence.objects.web import Web, addresses_of, is_public


@dataclass(frozen=True)
class Fetcher:
    """Bytes by address: `published:<path>`, `object:<sha256>`, `simulated:<number>`, and http(s) from `hosts`.

    Args:
        published: folder of published data; None: there is none.
        objects: where `object:` addresses point to.
        hosts: "example.com" (ports 80 and 443) or "example.com:8080"; none by default.
        most: bytes of one object.
        within: seconds for one download.
        simulated: draws what `simulated:<number>` names; None: nothing is simulated.
        resolve, is_allowed_address, tls: see `Web`.
    """

    published: Path | None
    objects: Objects
    hosts: frozenset[str] = frozenset()
    most: int = MOST_BYTES
    within: float = 10.0
    simulated: Callable[[int], bytes] | None = None
    resolve: Callable[[str, int], Sequence[str]] = addresses_of
    is_allowed_address: Callable[[str], bool] = is_public
    tls: ssl.SSLContext | None = None

    def get(self, uri: str) -> bytes:
        """The bytes behind an address.

        Raises FetchRefused with the reason; ObjectError if an object of the store is missing or was damaged there.
        """
        web = Web(self.hosts, self.most, self.within, self.resolve, self.is_allowed_address, self.tls)
        ways: dict[str, Callable[[str], bytes]] = {
            "published": self._published,
            "object": self.objects.get,
            "simulated": self._simulated,
            "http": lambda _: web.get(uri),
            "https": lambda _: web.get(uri),
        }
        scheme, _, rest = uri.partition(":")
        if scheme.lower() not in ways:
            raise FetchRefused(f"an address of an unknown kind, expected one of {', '.join(ways)}")
        content = ways[scheme.lower()](rest)
        if len(content) > self.most:
            raise FetchRefused(f"more than {self.most} bytes")
        return content

    def _published(self, path: str) -> bytes:
        if self.published is None:
            raise FetchRefused("there is no published data here")
        root, parts = self.published.resolve(), PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts:
            raise FetchRefused("a path that leaves the published data")
        try:
            file = (root / parts).resolve(strict=True)
            if not file.is_relative_to(root):
                raise FetchRefused("a path that leaves the published data")
            if not file.is_file():  # opening a pipe or a device would wait, or worse
                raise FetchRefused("no file of the published data")
            with file.open("rb") as opened:
                return opened.read(self.most + 1)
        except (OSError, ValueError, RuntimeError):  # missing, with a null byte, a loop of links
            raise FetchRefused("no file of the published data") from None

    def _simulated(self, number: str) -> bytes:
        if self.simulated is None:
            raise FetchRefused("nothing is simulated here")
        if not re.fullmatch("[0-9]{1,9}", number):
            raise FetchRefused("a simulated object has a number")
        return self.simulated(int(number))
