"""Pages of documentation whose numbers come from the lake: what stands between two markers is written, never typed.

`<!-- numbers: NAME -->...<!-- /numbers -->` is replaced by the value of that name; prose around it stays as it is.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from convergence.errors import ConvergenceError
from convergence.lake.tables import Lake

_MARKED = re.compile(r"<!-- numbers: (\w+) -->(?:(?!<!-- ).)*?<!-- /numbers -->", re.DOTALL)
_MARKER = re.compile(r"<!-- /?numbers")


class MarkerError(ConvergenceError):
    """A page has a marker that is not closed, or whose name nobody gives a value."""


@dataclass(frozen=True)
class MarkedPages:
    """Files of the repository, and what gives the values of their markers by name.

    `apart`: of markers whose tables no demo makes, so that the others need not wait for them.
    """

    files: tuple[str, ...]
    numbers: Callable[[Lake], Mapping[str, str]]
    apart: tuple[Callable[[Lake], Mapping[str, str]], ...] = ()


def injected(page: str, numbers: Mapping[str, str], *, some: bool = False) -> str:
    """The page with every marked part replaced; a value of several lines stands on lines of its own.

    `some`: parts that have no value stay as they are. Raises MarkerError.
    """
    if not some and (unknown := sorted(marked(page) - set(numbers))):
        known = ", ".join(sorted(numbers))
        raise MarkerError(f"nothing gives the numbers {', '.join(unknown)}: expected markers are {known}")

    def written(found: re.Match[str]) -> str:
        if found[1] not in numbers:
            return found[0]
        value = numbers[found[1]]
        around = "\n" if "\n" in value else ""
        return f"<!-- numbers: {found[1]} -->{around}{value}{around}<!-- /numbers -->"

    return _MARKED.sub(written, page)


def marked(page: str) -> set[str]:
    """The names of a page's markers. Raises MarkerError where one is not closed."""
    found = _MARKED.findall(page)
    if len(_MARKER.findall(page)) != 2 * len(found):
        raise MarkerError(
            f"{len(found)} parts are marked, and a marker is left over: expected <!-- numbers: NAME --> and then "
            "<!-- /numbers --> each time"
        )
    return set(found)
