"""Which snapshot is live: one small file, replaced whole, so that a reader sees the old answer or the new one."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from convergence.errors import IndexConflict, SearchError
from convergence.lake import durable

ALIAS = "live.json"


class Live(NamedTuple):
    """The snapshot that is asked, the one before it, and when they were exchanged (UTC)."""

    version: str
    previous: str | None
    at: datetime


def live(root: Path) -> Live | None:
    """What is live; None before the first switch. Raises SearchError where the alias is damaged."""
    try:
        said = json.loads((root / ALIAS).read_text())
        version, previous, at = said["version"], said["previous"], datetime.fromisoformat(said["at"])
        if not isinstance(version, str) or not isinstance(previous, str | None):
            raise TypeError(said)
        return Live(version, previous, at)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise SearchError(
            f"{ALIAS} cannot be read ({type(error).__name__}): remove it and switch to a version again"
        ) from error


def switched(root: Path, version: str, expected: str | None, record: Callable[[], object]) -> Live:
    """Let a version be live; only for who holds the lock of `root`.

    Args:
        expected: the version that is live so far, as the caller knows it; None: none is.
        record: called before the alias is replaced, and not where nothing changes: whoever is killed in between leaves
            a record of a switch that did not happen, never a switch without a record.

    Raises:
        IndexConflict: another one is live by now; nothing was changed.
    """
    there = live(root)
    found = there.version if there else None
    if found != expected:
        raise IndexConflict(
            f"expected version {_short(expected)} to be live, found {_short(found)}: another switch came first; "
            "nothing was changed: look at what is live now, and decide again"
        )
    if there and found == version:
        return there
    record()
    new = Live(version, found, datetime.now(UTC))
    draft = root / f"{ALIAS}.new"
    with draft.open("w") as file:
        json.dump({**new._asdict(), "at": new.at.isoformat()}, file, indent=1)
    durable.settle(draft)
    draft.replace(root / ALIAS)
    durable.settle(root)
    return new


def _short(version: str | None) -> str:
    return version[:12] if version else "none"
