"""Lines of JSON in a file a day, which any number of processes add to."""

from datetime import UTC, datetime
from pathlib import Path


def append(folder: Path, lines: str) -> None:
    """Add whole lines to `<folder>/<UTC date>.jsonl` in one write, so that those of others do not come between."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / f"{datetime.now(UTC).date()}.jsonl").open("ab", buffering=0) as file:
        file.write(lines.encode())
