"""Downloads from hosts that were named in advance, by addresses that were checked.

The address that is checked is the address that is connected to: a name that resolves differently a moment later (DNS
rebinding) changes nothing. So requests are made on a socket of our own, and no library follows redirects or proxies.
"""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address
from threading import Timer
from typing import NamedTuple
from urllib.parse import urljoin

from convergence.errors import FetchRefused

MOST_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+)(:(?P<port>\d{1,5}))?(?P<path>[/?][!-~]*)?", re.I)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_REDIRECTED = (301, 302, 303, 307, 308)


class Target(NamedTuple):
    """A URL in parts; `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str


def addresses_of(host: str, port: int) -> list[str]:
    """IPv4 and IPv6 addresses of a name, in the order of the system's preference. Raises OSError if it has none."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def is_public(address: str) -> bool:
    """Whether an address is of one host in the public internet, and holds no IPv4 address that may not be."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not ip.is_reserved
    return ip in _GLOBAL_UNICAST and ip.is_global and ip.sixtofour is None and ip.teredo is None


@dataclass(frozen=True)
class Web:
    """Downloads from `hosts`: "example.com" (ports 80 and 443, by scheme) or "example.com:8080".

    most: bytes of a body. within: seconds for everything, redirects and names included. tls: what certificates must
    satisfy; None: the system's authorities.
    """

    hosts: frozenset[str]
    most: int
    within: float
    resolve: Callable[[str, int], Sequence[str]] = addresses_of
    is_allowed_address: Callable[[str], bool] = is_public
    tls: ssl.SSLContext | None = None

    def get(self, url: str) -> bytes:
        """The body behind `url`, as it is. Raises FetchRefused with the reason."""
        until = time.monotonic() + self.within
        for _ in range(MOST_REDIRECTS + 1):
            target = self._checked(url)
            try:
                with self._connected(target, until) as sock:
                    found = self._answer(sock, target)
                self._refuse_late(until)
                if isinstance(found, bytes):
                    return found
                url = urljoin(url, found)
            except ssl.SSLCertVerificationError:
                raise FetchRefused(f"{target.host} shows a certificate that does not hold for it") from None
            except (OSError, ValueError, http.client.HTTPException):  # ValueError: it redirects to what is no address
                self._refuse_late(until)
                raise FetchRefused(f"{target.host} does not answer as it should") from None
            if target.scheme == "https" and not url.lower().startswith("https:"):
                raise FetchRefused(f"{target.host} redirects to where nothing is encrypted")
        raise FetchRefused(f"more than {MOST_REDIRECTS} redirects")

    def _checked(self, url: str) -> Target:
        if not (parts := _URL.fullmatch(url.partition("#")[0])):
            raise FetchRefused("not of the form http(s)://host[:port]/path in plain ASCII")
        scheme, host = parts["scheme"].lower(), parts["host"].lower()
        port = int(parts["port"] or _PORTS[scheme])
        if f"{host}:{port}" not in self.hosts and not (host in self.hosts and port == _PORTS[scheme]):
            raise FetchRefused(f"{host}:{port} is not among the hosts that may be asked")
        path = parts["path"] or "/"
        return Target(scheme, host, port, path if path.startswith("/") else f"/{path}")

    def _addresses(self, target: Target, until: float) -> Sequence[str]:
        resolver = ThreadPoolExecutor(1)  # a name server that does not answer can be waited for in no other way
        try:
            found = resolver.submit(self.resolve, target.host, target.port).result(until - time.monotonic())
        finally:
            resolver.shutdown(wait=False)
        if not found or not all(self.is_allowed_address(address) for address in found):
            raise FetchRefused(f"{target.host} has an address that may not be connected to")
        return found

    @contextmanager
    def _connected(self, target: Target, until: float) -> Iterator[socket.socket]:
        """A connection, encrypted if it should be, that breaks when the time is up, whatever is waited for."""
        addresses = self._addresses(target, until)
        raw = socket.create_connection((addresses[0], target.port), timeout=max(until - time.monotonic(), 0.001))
        with closing(raw.dup()) as same:
            timer = Timer(until - time.monotonic(), _break, [same])
            timer.start()
            try:
                with raw if target.scheme == "http" else self._encrypted(raw, target.host) as sock:
                    yield sock
            finally:
                timer.cancel()

    def _encrypted(self, raw: socket.socket, host: str) -> ssl.SSLSocket:
        with raw:  # wrap_socket() takes it over; if that fails it is closed
            return (self.tls or ssl.create_default_context()).wrap_socket(raw, server_hostname=host)

    def _answer(self, sock: socket.socket, target: Target) -> bytes | str:
        """The body, or where else to look."""
        usual = target.port == _PORTS[target.scheme]
        asked = http.client.HTTPConnection(target.host, target.port)
        asked.sock = sock  # it makes none of its own, then
        headers = {"Host": target.host if usual else f"{target.host}:{target.port}", "Accept-Encoding": "identity"}
        asked.request("GET", target.path, headers={**headers, "Connection": "close", "User-Agent": "convergence"})
        answer = asked.getresponse()
        if answer.status in _REDIRECTED and (where := answer.getheader("Location")):
            return where
        if answer.status != 200:
            raise FetchRefused(f"{target.host} answers {answer.status}")
        body = b"" if (answer.length or 0) > self.most else answer.read(self.most + 1)
        if (answer.length or 0) + len(body) > self.most:
            raise FetchRefused(f"more than {self.most} bytes")
        if answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        return body

    def _refuse_late(self, until: float) -> None:
        if time.monotonic() >= until:
            raise FetchRefused(f"took longer than {self.within:g} s")


def _break(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)
