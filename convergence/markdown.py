"""Markdown, as Dagster's UI and the pages of the documentation show it."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; floats with four significant digits, None as an empty cell."""
    cells = [[f"{c:.4g}" if isinstance(c, float) else "" if c is None else str(c) for c in row] for row in rows]
    lines = [f"| {' | '.join(line)} |" for line in (head, *cells)]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines).replace("|  |", "| |")
