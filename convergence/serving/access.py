"""Who may ask what, and how often: bearer tokens with a role and an end, a bucket of requests for each.

Only hashes of tokens are held and compared, all of them and in constant time, so that an answer's duration tells
nothing of a token.
"""

import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from convergence.errors import SettingsError

ROLES = ("reader", "scorer", "admin")  # each may do what those before it may


@dataclass(frozen=True)
class Token:
    """One line of the tokens file; `name` is for logs."""

    name: str
    role: str
    digest: bytes
    expires: datetime | None = None


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file with lines `name role token [ISO time of expiry]`; none where there is no file.

    Raises:
        SettingsError: others may read the file, it is no text, or a line is not of that form.
    """
    if not path.exists():
        return ()
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} can be read by others: chmod 600 {path}")
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as lines of text ({type(error).__name__}): write it anew") from None
    return tuple(_token(path, n, line) for n, line in enumerate(lines, 1) if line.strip())


def _token(path: Path, number: int, line: str) -> Token:
    form = f"line {number} of {path} is not `name role token [ISO time of expiry]`; roles are {', '.join(ROLES)}"
    parts = line.split()
    if len(parts) not in (3, 4) or parts[1] not in ROLES or len(parts[2]) < 16:
        raise SettingsError(f"{form}, and a token has at least 16 characters")
    try:
        expires = datetime.fromisoformat(parts[3]) if len(parts) == 4 else None
    except ValueError:
        raise SettingsError(form) from None
    return Token(parts[0], parts[1], _digest(parts[2]), expires and expires.replace(tzinfo=expires.tzinfo or UTC))


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogateescape")).digest()


class Access:
    """Tokens and rates. Without tokens everybody is an admin, which only a loopback address may have.

    `rate` are requests a second for each token on average, `burst` at once.
    """

    def __init__(
        self, tokens: Iterable[Token], *, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tokens = tuple(tokens)
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    @property
    def open(self) -> bool:
        """Whether nobody is asked for a token."""
        return not self.tokens

    def who(self, authorization: str | None) -> Token | None:
        """The token of an Authorization header; None where it is unknown or has expired."""
        if self.open:
            return Token("anybody", "admin", b"")
        scheme, _, given = (authorization or "").partition(" ")
        digest = _digest(given.strip())
        found = [token for token in self.tokens if hmac.compare_digest(token.digest, digest)]
        valid = scheme.lower() == "bearer" and found and (not found[0].expires or found[0].expires > datetime.now(UTC))
        return found[0] if valid else None

    def allows(self, token: Token, role: str) -> bool:
        """Whether a token has a role or one above it."""
        return ROLES.index(token.role) >= ROLES.index(role)

    def admit(self, token: Token) -> float:
        """Count a request; 0 if it is within the rate, else the seconds until the next one is."""
        now = self._clock()
        left, at = self._buckets.get(token.name, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._rate)
        self._buckets[token.name] = (left - 1 if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) / self._rate
