"""Which challengers were tried when, read from the release log."""

from convergence.errors import ModelError
from convergence.models.release_log import RELEASES, release_of
from convergence.models.releases import Release
from convergence.versions.audit import AuditLog, Entry


def tried(log: AuditLog, name: str, number: int | None = None) -> tuple[Release, Entry, Entry | None]:
    """The newest release that tried a challenger, or that of a number; its entry, and the one that ended the trial.

    Raises ModelError where there is none.
    """
    releases = [e for e in log.entries(name) if e.action in RELEASES]
    begun = [place for place, e in enumerate(releases) if e.action == "canary" and number in (None, e.number)]
    if not begun:
        which = f"release {number} of {name} tried none" if number else f"no challenger was ever tried for {name}"
        raise ModelError(f"{which}: `convergence promote {name} --to challenger`, or see `convergence audit list`")
    first, *later = releases[begun[-1] :]
    return release_of(first), first, later[0] if later else None
