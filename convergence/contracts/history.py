"""What was committed of a contract file: the promises that its present text is measured by."""

import subprocess
from pathlib import Path

from convergence.contracts.changes import Change, changes, unannounced
from convergence.contracts.standard import Document, parse

REVISIONS = 100  # that are looked back on


def at(revision: str, file: Path) -> Document | None:
    """The file as it was in a git revision; None if it was not there. Raises ContractFileInvalid."""
    found = _git(file, "show", f"{revision}:./{file.name}")
    return parse(found, f"{file.name} in {revision}") if found is not None else None


def broken_promises(file: Path, now: Document) -> list[tuple[str, Change]]:
    """What `now` takes away, without having announced it, from any committed version of the file: revision and change.

    Every version counts, not the last alone: otherwise the second commit after a removal would pass. Whether a removal
    was announced is said by the newest version that still had what is gone: those before it could not know. Nothing is
    found where there is no git history (as in a copy without one).
    """
    found: dict[tuple[str, str], tuple[str, Change]] = {}
    judged: set[tuple[str, str]] = set()
    listed = (_git(file, "log", f"-{REVISIONS}", "--format=%h", "--", file.name) or b"").decode().split()
    for revision in listed:
        then = at(revision, file)  # None: the commit that removed it
        if then is None or then["status"] == "draft":
            continue
        refused = unannounced(then, now)
        for change in changes(then, now):
            name = (change.where, change.what)
            if change in refused and not (change.taken_away and name in judged):
                found.setdefault(name, (revision, change))
            judged.add(name)
    return list(found.values())


def _git(file: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=file.parent, capture_output=True, check=False)
    except OSError:  # no git, or no such folder
        return None
    return done.stdout if done.returncode == 0 else None
