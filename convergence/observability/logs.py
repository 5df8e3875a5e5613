"""Log lines as JSON with the ids of what they are about.

What goes in is the message and ids that are listed here. Of an error, the place and the kind: the text of one that is
not ours may quote a row. Secrets are masked in either.
"""

import json
import logging
import queue
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Any

from convergence.errors import ConvergenceError
from convergence.observability.context import current
from convergence.observability.day_files import append
from convergence.privacy.masking import foreign, without_secrets

WAITING = 10_000  # lines in memory at most

_UNSEEN = re.compile(r"[^ -~]")
_OF_A_RUN = ("run_id", "job_name", "step_key")  # what Dagster says of a line that was logged in a run


def printable(text: str) -> str:
    """A text as one line that moves no cursor: what is not to be seen in it is escaped, as JSON does."""
    return _UNSEEN.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


class Lines(logging.Formatter):
    """Text for a terminal, in which what somebody else said is neither a further line nor a command."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line, escaped."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Its lines, escaped each, and indented, so that none passes for a line of the log."""
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `message`, the bound ids, and of a Dagster run `run_id`, `job_name`, `step_key`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        run: dict[str, Any] = getattr(record, "dagster_meta", None) or {}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(run.get("orig_message") or record.getMessage()),
            **{name: run[name] for name in _OF_A_RUN if run.get(name)},
            **current(),
        }
        if record.exc_info and (error := record.exc_info[1]):
            ours = isinstance(error, ConvergenceError)
            line["error"] = type(error).__name__ + (f": {error}" if ours else "")
            if not ours and str(error):  # the message may repeat its text
                line["message"] = line["message"].replace(without_secrets(str(error)), foreign(str(error)))
            frames = traceback.walk_tb(error.__traceback__)  # modules, because files tell where somebody works
            line["stack"] = [f"{f.f_globals.get('__name__')}:{n} {f.f_code.co_name}" for f, n in frames]
        elif said := _why_a_step_failed(run.get("dagster_event")):
            line["error"] = without_secrets(said)
        return printable(json.dumps(line, ensure_ascii=False, default=str))


def _why_a_step_failed(event: Any) -> str | None:
    """The description that the platform gives a failure, or the kind of the error that is the cause of all others."""
    data = getattr(event, "event_specific_data", None)
    if described := getattr(getattr(data, "user_failure_data", None), "description", None):
        return described
    error = getattr(data, "error", None)
    while cause := getattr(error, "cause", None):
        error = cause
    return getattr(error, "cls_name", None)


class DayFiles(logging.Handler):
    """Writes to `<folder>/<UTC date>.jsonl`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        """Add the line; as every handler, say so on stderr where that cannot be done, and go on."""
        try:
            append(self.folder, self.format(record) + "\n")
        except OSError:
            self.handleError(record)


def json_handler(folder: Path | None) -> logging.Handler:
    """Writes JSON lines to day files below a folder, or to stderr for None, in the thread that logs."""
    handler = logging.StreamHandler(sys.stderr) if folder is None else DayFiles(folder)
    handler.setFormatter(JsonLines())
    return handler


class _Waiting(QueueHandler):
    """Formats a record where it is logged, because the ids are known there; drops it where too many wait."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            super().enqueue(record)


@contextmanager
def log_beside(folder: Path | None) -> Iterator[None]:
    """Meanwhile what the platform logs from INFO on goes to a folder as JSON, or to stderr for None, beside the work.

    Where it goes to a folder, warnings are on stderr too, as text.
    """
    waiting = _Waiting(queue.Queue(WAITING))
    waiting.setFormatter(JsonLines())
    written = json_handler(folder)
    written.setFormatter(None)  # the lines are made already
    listener = QueueListener(waiting.queue, written)
    handlers: list[logging.Handler] = [waiting]
    if folder is not None:
        handlers.append(said := logging.StreamHandler())
        said.setLevel(logging.WARNING)
        said.setFormatter(Lines())
    platform = logging.getLogger("convergence")
    before = platform.level
    platform.setLevel(logging.INFO)
    for handler in handlers:
        platform.addHandler(handler)
    listener.start()
    try:
        yield
    finally:
        for handler in handlers:
            platform.removeHandler(handler)
        platform.setLevel(before)
        listener.stop()
