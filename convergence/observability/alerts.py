"""Alerts and where they go: what failed, in names and numbers alone, so that none can carry a row's content.

A channel takes an alert or raises; whoever sends keeps what was not taken. An alert's id is the same each time that it
is sent, so that a receiver can tell a repetition.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from convergence.errors import ServiceError
from convergence.observability.day_files import append

TIMEOUT_SECONDS = 5.0  # of one attempt
RETRIES, BACK_OFF_SECONDS = 3, 0.5  # then 1 s, then 2 s: with the timeouts less than the minute that a tick has
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers after which it is tried again at once


@dataclass(frozen=True)
class Alert:
    """A failed check or run. `text` says it in one line, under the name that chat webhooks expect."""

    id: str
    kind: str  # check or run
    severity: str  # error or warn
    text: str
    at: str  # ISO 8601, UTC
    asset: str | None
    check: str | None
    partition: str | None  # the first that failed
    partitions: int  # how many did
    rows_rejected: int | None
    run_id: str
    run_url: str

    def to_json(self) -> str:
        """The alert as one line."""
        return json.dumps(asdict(self))


class Undelivered(ServiceError):
    """A channel has not taken an alert."""


class Channel(Protocol):
    """Somewhere to send alerts to."""

    @property
    def name(self) -> str:
        """What its cursor is kept under."""
        ...

    def send(self, alert: Alert) -> None:
        """Hand over one alert. Raises Undelivered."""
        ...


@dataclass(frozen=True)
class AlertFile:
    """JSON lines in a file a day: always there, and what a log shipper takes."""

    folder: Path
    name: str = "file"

    def send(self, alert: Alert) -> None:
        """Add a line. Raises Undelivered if it cannot be written."""
        try:
            append(self.folder, alert.to_json() + "\n")
        except OSError as error:
            raise Undelivered(f"alerts cannot be written to {self.folder}: {error.strerror}; free or mend it") from None


@dataclass(frozen=True)
class Webhook:
    """A POST of one JSON object for each alert. The address may be a secret: messages name its host alone."""

    url: str
    name: str = "webhook"
    timeout: float = TIMEOUT_SECONDS
    back_off: float = BACK_OFF_SECONDS

    def send(self, alert: Alert) -> None:
        """Post it, again after failures that pass. Raises Undelivered when it was not answered with 2xx."""
        from urllib3 import PoolManager, Retry, Timeout
        from urllib3.exceptions import HTTPError

        retry = Retry(
            total=RETRIES,
            redirect=0,
            backoff_factor=self.back_off,
            status_forcelist=PASSING,
            allowed_methods=None,  # also for POST: the id tells a repetition
            respect_retry_after_header=False,  # a server could keep the daemon waiting for hours
            raise_on_status=False,
        )
        headers = {"Content-Type": "application/json", "Idempotency-Key": alert.id}
        pool: Any = PoolManager(retries=retry, timeout=Timeout(self.timeout))
        try:
            status = pool.request("POST", self.url, body=alert.to_json(), headers=headers).status
            said = "" if 200 <= status < 300 else f"answered {status}"
        except (HTTPError, ValueError, OSError) as error:
            said = f"could not be reached ({type(getattr(error, 'reason', None) or error).__name__})"
        finally:
            pool.clear()
        if said:
            raise Undelivered(
                f"the webhook at {urlsplit(self.url).hostname} {said}; the alert is kept and sent again. "
                "Look at CONVERGENCE_ALERT_WEBHOOK if it stays so"
            )
