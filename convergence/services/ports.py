"""Ports for the servers that the platform starts itself, on loopback."""

import random
import socket
from contextlib import ExitStack

from convergence.errors import ServiceError

# Below the ports that systems give to outgoing connections: a client that looks for a dead server must not get its port
_FREE_PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on."""
    with ExitStack() as open_until_all_are_found:
        probes = [open_until_all_are_found.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            while not _bound(probe, random.SystemRandom().choice(_FREE_PORTS)):
                continue
        return [probe.getsockname()[1] for probe in probes]


def listens(port: int) -> bool:
    """Whether something takes connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def refuse_taken(server: str, *needed: int) -> None:
    """Raises ServiceError where one of the ports that the server needs is taken."""
    for port in needed:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise ServiceError(
                    f"port {port} is taken ({error.strerror}); the {server} needs {' and '.join(map(str, needed))}: "
                    "choose another port"
                ) from None


def _bound(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
