"""A real HTTP server on loopback that behaves well, badly and slowly, by path; also with TLS."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

BODY = b"the bytes of an image"


class Server(ThreadingHTTPServer):
    """`seen`: path and Host of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str]] = []

    @property
    def port(self) -> int:
        return self.server_address[1]

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is what many tests want."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Host"]))
        kind, _, rest = self.path[1:].partition("/")
        getattr(self, f"_{kind}")(unquote(rest))

    def _whole(self, _: str) -> None:
        self._send(200, {"Content-Length": len(BODY)}, BODY)

    def _chunked(self, _: str) -> None:
        self._send(200, {"Transfer-Encoding": "chunked"}, b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (
            BODY[:5], len(BODY) - 5, BODY[5:]))  # fmt: skip

    def _until_closed(self, _: str) -> None:
        self._send(200, {"Connection": "close"}, BODY)
        self.close_connection = True

    def _to(self, where: str) -> None:
        self._send(302, {"Location": where, "Content-Length": 0})

    def _around(self, _: str) -> None:
        self._to("/around")

    def _status(self, number: str) -> None:
        self._send(int(number), {"Content-Length": 0})

    def _claims(self, length: str) -> None:
        self._send(200, {"Content-Length": length}, BODY)
        self.close_connection = True

    def _endless(self, _: str) -> None:
        self._send(200, {"Connection": "close"})
        while True:
            self.wfile.write(bytes(100_000))

    def _drips(self, _: str) -> None:
        self._send(200, {"Connection": "close"})
        self._drip()

    def _drips_headers(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self._drip()

    def _nonsense(self, _: str) -> None:
        self.wfile.write(b"\x00\xff" * 100)
        self.close_connection = True

    def _drip(self) -> None:
        while True:
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def _send(self, status: int, headers: dict[str, object], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args) -> None:
        """Not in the output of tests."""


@contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server() as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def certificate(host: str, folder: Path) -> tuple[Path, Path]:
    """A certificate for `host` that vouches for itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{host}.pem", folder / f"{host}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths
