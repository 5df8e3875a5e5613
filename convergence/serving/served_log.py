"""What was served, on disk for the parity check, and who was asked in a trial: JSON lines, written beside the requests.

A request never waits for it. Where the disk cannot keep up, lines are dropped and counted.
"""

import json
import os
import queue
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WAITING = 10_000  # lines in memory at most


def exposures_of(home: Path, model: str) -> Path:
    """The folder of the exposure log of a model."""
    return home / "served" / "exposures" / model


class ServedLog:
    """Appends lines to `<folder>/<UTC date>.jsonl` in a thread of its own; `dropped` is told of each lost line."""

    def __init__(self, folder: Path, dropped: Callable[[], None], *, waiting: int = WAITING) -> None:
        self.folder = folder
        self._dropped = dropped
        self._lines: queue.Queue[list[Mapping[str, Any]] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._write, name="served-log", daemon=True)
        self._thread.start()

    def add(self, lines: list[Mapping[str, Any]]) -> None:
        """Take lines for writing; where too many wait, they are dropped."""
        try:
            self._lines.put_nowait(lines)
        except queue.Full:
            for _ in lines:
                self._dropped()

    def close(self) -> None:
        """Write what waits, and end."""
        self._lines.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (lines := self._lines.get()) is not None:
            parts = [*lines]
            ended = False
            while not ended and not self._lines.empty():
                more = self._lines.get()
                ended = more is None
                parts += more or []
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with (self.folder / f"{datetime.now(UTC).date()}.jsonl").open("a") as file:
                    file.write("\n" * _is_torn(Path(file.name)))
                    file.writelines(json.dumps(part, separators=(",", ":")) + "\n" for part in parts)
            except OSError:
                for _ in parts:
                    self._dropped()
            if ended:
                return


def _is_torn(file: Path) -> bool:
    """Whether a server that was killed left the last line without its end: what follows would be lost with it."""
    with file.open("rb") as there:
        return bool(there.seek(0, os.SEEK_END)) and (there.seek(-1, os.SEEK_END), there.read())[1] != b"\n"
