"""Named points at which a test may break the platform on purpose; they do nothing unless one is armed."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from convergence.errors import SettingsError

POINTS = (
    *("before_decode", "before_rejected", "before_late", "before_data", "after_data"),
    *("files_written", "before_acknowledged", "after_commit", "before_record"),
    *("asked", "between_erasing", "before_files", "before_certificate"),
    "open",
)


@dataclass
class _Armed:
    point: str
    passes: int  # that are still let through
    act: Callable[[], None]
    once: Path | None  # made by the one process that breaks, of all that are armed alike


_armed: list[_Armed] = []


def arm(text: str) -> None:
    """Arm `point:pass:action`, e.g. `after_data:3:kill`; with `:FILE`, only the process that makes FILE breaks.

    Raises SettingsError for what there is not.
    """
    point, number, action, file, *_ = [*text.split(":", 3), "", "", ""]
    if point not in POINTS or not number.isdigit() or int(number) < 1 or action not in _ACTIONS:
        raise SettingsError(
            f"fault {text!r}: expected POINT:PASS:ACTION[:FILE], of {', '.join(POINTS)} and {', '.join(_ACTIONS)}"
        )
    _armed[:] = [_Armed(point, int(number), _ACTIONS[action], Path(file) if file else None)]


def fault(point: str) -> None:
    """Break here, if this point is armed and its turn has come."""
    for armed in _armed:
        if armed.point == point:
            armed.passes -= 1
            if armed.passes == 0 and _is_first(armed.once):
                armed.act()


def _is_first(once: Path | None) -> bool:
    with suppress(FileExistsError):
        if once:
            once.touch(exist_ok=False)
        return True
    return False


def _fail() -> None:
    raise OSError(5, "Input/output error (injected)")


_ACTIONS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "fail": _fail,
}
