"""What differs between two versions of a contract, and which differences break those who rely on it.

A reader is hurt by what is taken away or promised less: a column, its type, a value that may now be missing, a wider
range. Whoever sends messages to a raw table is hurt by the opposite: rules that refuse what they let pass before.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from convergence.contracts.standard import Document, custom, major

LOOSER, TIGHTER = "promises less", "accepts less"

Consumers = Callable[[str, str | None], list[str]]
"""Who reads a table (its physical name), or one of its columns."""

_LOW, _HIGH = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


@dataclass(frozen=True)
class Change:
    """One difference: in which table and column, in words, and whether it breaks somebody.

    `taken_away`: a column or table is gone, or of another type, so it had to be announced by `deprecated`.
    """

    table: str
    column: str | None
    what: str
    breaking: bool = False
    taken_away: bool = False
    announced: bool = False

    @property
    def where(self) -> str:
        """`table` or `table.column`."""
        return f"{self.table}.{self.column}" if self.column else self.table

    def __str__(self) -> str:
        return f"{'BREAKING' if self.breaking else 'compatible'}: {self.where}: {self.what}"


def changes(old: Document, new: Document) -> list[Change]:
    """Every difference of tables and service levels, table by table."""
    before, after = _by_name(old["schema"]), _by_name(new["schema"])
    found: list[Change] = []
    for name, table in before.items():
        if name in after:
            found += _of_table(table, after[name])
        else:
            found.append(Change(_physical(table), None, "table removed", True, True, _announced(table)))
    found += [Change(_physical(table), None, "table added") for name, table in after.items() if name not in before]
    return found + list(_of_service(old, new))


def unannounced(old: Document, new: Document) -> list[Change]:
    """The breaking changes that the newer document had no right to make.

    A draft promises nothing. Otherwise each needs a new major version, and what is taken away must have been
    `deprecated` in the older document.
    """
    if old["status"] == "draft":
        return []
    raised = major(new) > major(old)
    return [c for c in changes(old, new) if c.breaking and not (raised and (c.announced or not c.taken_away))]


def explained(change: Change, consumers: Consumers) -> str:
    """The change in one line, with who reads what it breaks."""
    readers = consumers(change.table, change.column) if change.breaking else []
    return f"{change}" + (f"; read by {', '.join(readers)}" if readers else "")


def _of_table(old: Document, new: Document) -> Iterator[Change]:
    name, raw = _physical(old), "raw" in old.get("tags", ())
    before, after = _by_name(old["properties"]), _by_name(new["properties"])
    for column, held in before.items():
        if column not in after:
            yield Change(name, column, "removed", True, True, _announced(held))
        elif (was := _type(held)) != (now := _type(after[column])):
            yield Change(name, column, f"type {was} became {now}", True, True, _announced(held))
        else:
            yield from _of_column(name, raw, held, after[column])
    for column in (c for c in after if c not in before):
        needed = raw and bool(after[column].get("required"))
        yield Change(name, column, "added" + (", and messages must have it" if needed else ""), needed)
    for rule in sorted(_checks(old) ^ _checks(new)):
        gone = rule in _checks(old)
        yield Change(name, None, f"rule {rule} {'removed' if gone else 'added'}", gone or raw)
    if custom(old, "otherColumns") != (now := custom(new, "otherColumns")):
        yield Change(name, None, f"columns that are not declared are now {now}", raw and now == "refused")
    if not _announced(old) and _announced(new):
        yield Change(name, None, f"deprecated: {custom(new, 'deprecated')}")
    for word in ("description", "tags"):
        if old.get(word) != new.get(word):
            yield Change(name, None, f"{word} reworded")
    for word in ("owner", "consumers"):
        if custom(old, word) != custom(new, word):
            yield Change(name, None, f"{word}: {custom(new, word) or 'none'}")


def _of_column(table: str, raw: bool, old: Document, new: Document) -> Iterator[Change]:
    for what, way in _rules(old, new):
        yield Change(table, old["name"], f"{what} ({way})", way == LOOSER or (raw and way == TIGHTER))
    if not _announced(old) and _announced(new):
        yield Change(table, old["name"], f"deprecated: {custom(new, 'deprecated')}")
    for word in ("unit", "pii", "subject"):
        if custom(old, word) != custom(new, word):  # a unit that changes is another quantity under the same name
            yield Change(table, old["name"], f"{word} {custom(old, word)} became {custom(new, word)}", word == "unit")
    if old.get("description") != new.get("description"):
        yield Change(table, old["name"], "description reworded")


def _rules(old: Document, new: Document) -> Iterator[tuple[str, str]]:
    """What each rule became, and whom that hurts."""
    for word in ("required", "unique"):
        was, now = bool(old.get(word)), bool(new.get(word))
        if was != now:
            yield f"{word} {was} became {now}", LOOSER if was else TIGHTER
    held, holds = old.get("logicalTypeOptions", {}), new.get("logicalTypeOptions", {})
    for words, sign in ((_LOW, 1), (_HIGH, -1), (("minLength",), 1), (("maxLength",), -1)):
        was, now = _bound(held, words, sign), _bound(holds, words, sign)
        if was != now:
            tighter = was is None or (now is not None and _strength(now, sign) > _strength(was, sign))
            yield f"{words[0]} {_said(was)} became {_said(now)}", TIGHTER if tighter else LOOSER
    if held.get("pattern") != holds.get("pattern"):  # of two patterns nobody can tell which lets more pass
        yield f"pattern {held.get('pattern')} became {holds.get('pattern')}", LOOSER if "pattern" in held else TIGHTER
    was, now = _values(old), _values(new)
    if was != now:
        fewer = was is None or (now is not None and now < was)
        yield f"values {_said(was)} became {_said(now)}", TIGHTER if fewer else LOOSER
    for rule in sorted(_checks(old) ^ _checks(new)):
        gone = rule in _checks(old)
        yield f"rule {rule} {'removed' if gone else 'added'}", LOOSER if gone else TIGHTER


def _of_service(old: Document, new: Document) -> Iterator[Change]:
    """Service levels: later or rarer breaks."""
    levels = [{(p["element"], p["property"]): p["value"] for p in d.get("slaProperties", ())} for d in (old, new)]
    was, now = levels
    for element, name in dict.fromkeys([*was, *now]):
        before, after = was.get((element, name)), now.get((element, name))
        if before != after:
            worse = before is not None and (after is None or after > before)
            yield Change(element, None, f"{name} {_said(before)} became {_said(after)}", worse)


def _by_name(elements: list[Document]) -> dict[str, Document]:
    return {element["name"]: element for element in elements}


def _physical(table: Document) -> str:
    return table.get("physicalName") or table["name"]


def _type(column: Document) -> str:
    return column.get("physicalType") or column.get("logicalType", "?")


def _announced(element: Document) -> bool:
    return custom(element, "deprecated") is not None


def _checks(element: Document) -> set[str]:
    """Rules without bounds to compare: they are there or not."""
    named = (q.get("implementation") or q.get("arguments", {}).get("properties") for q in element.get("quality", ()))
    return {str(name) for name in named if name}


def _values(column: Document) -> frozenset[Any] | None:
    for quality in column.get("quality", ()):
        if quality.get("metric") == "invalidValues":
            return frozenset(quality["arguments"]["validValues"])
    return None


def _bound(options: Mapping[str, Any], words: tuple[str, ...], sign: int) -> tuple[Any, bool] | None:
    """The bound that counts, and whether it is itself excluded."""
    bounds = [(options[word], word.startswith("exclusive")) for word in words if word in options]
    return max(bounds, key=lambda bound: _strength(bound, sign), default=None)


def _strength(bound: tuple[Any, bool], sign: int) -> tuple[Any, bool]:
    value, excluded = bound
    return sign * value, excluded


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, frozenset):
        return str(sorted(value, key=str))
    if isinstance(value, tuple):
        return f"{'beyond ' if value[1] else ''}{value[0]}"
    return str(value)
