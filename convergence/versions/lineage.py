"""Which column is made from which, both ways, over every table.

What a name tells is not written down: a column of the same name in one input passes through. All else is declared in
the contract, in the metadata of a field: `from`, a list of sources, or `made_here`, the reason why there are none. The
metadata of a contract's Config may hold `rows_of` (the input whose rows these are, where several have a name) and
`from` or `made_here` for the columns of which nothing else is known. A source is `input.column`, `input.*` (every
column that the asset says it uses), `*` (that of every input), or `use_case/table.column`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from convergence.errors import ConvergenceError
from convergence.lake.contracts import Contract

EVERY = "*"


class UnknownColumn(ConvergenceError):
    """No table or column has that name."""


class Column(NamedTuple):
    """A column of a table of the graph."""

    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True)
class Declared:
    """What a contract says of where its columns come from, inputs under the names of their tables."""

    columns: tuple[str, ...]
    inputs: tuple[str, ...]
    sources: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    made_here: Mapping[str, str] = field(default_factory=dict)
    rows_of: str | None = None
    otherwise: tuple[Column, ...] = ()
    otherwise_here: str | None = None

    def traced(self, known: Mapping[str, Sequence[str]]) -> tuple[dict[str, tuple[Column, ...]], dict[str, str]]:
        """Sources of each column, given the columns of every table; and why there are none, where that is declared."""
        found = {name: self._sources(name, known) for name in self.columns}
        reasons = {n: r for n in self.columns if not found[n] and (r := self.made_here.get(n, self.otherwise_here))}
        return found, reasons

    def _sources(self, name: str, known: Mapping[str, Sequence[str]]) -> tuple[Column, ...]:
        if name in self.made_here:
            return ()
        if name in self.sources:
            return _expanded(self.sources[name], known)
        having = [table for table in self.inputs if name in known.get(table, ())]
        if self.rows_of in having:
            return (Column(str(self.rows_of), name),)
        if len(having) == 1:
            return (Column(having[0], name),)
        return _expanded(self.otherwise, known)


def declared(contract: Contract, inputs: Mapping[str, str], uses: Mapping[str, Sequence[str]]) -> Declared:
    """What `contract` declares, for an asset with `inputs`: the table of each. `uses`: the columns that count of some.

    Raises ConvergenceError for a source that is not written as one.
    """
    shared: Mapping[str, Any] = getattr(contract.__config__, "metadata", None) or {}
    columns = contract.to_schema().columns
    said = {name: column.metadata or {} for name, column in columns.items()}

    def sources(given: Sequence[str], where: str) -> tuple[Column, ...]:
        return tuple(source for text in given for source in _source(text, inputs, uses, where))

    return Declared(
        columns=tuple(columns),
        inputs=tuple(inputs.values()),
        sources={n: sources(m["from"], f"{contract.__name__}.{n}") for n, m in said.items() if "from" in m},
        made_here={n: str(m["made_here"]) for n, m in said.items() if "made_here" in m},
        rows_of=inputs.get(str(shared.get("rows_of"))),
        otherwise=sources(shared.get("from", ()), contract.__name__),
        otherwise_here=shared.get("made_here"),
    )


def _source(text: str, inputs: Mapping[str, str], uses: Mapping[str, Sequence[str]], where: str) -> Iterator[Column]:
    if text == EVERY:
        for each in inputs:
            yield from _source(f"{each}.{EVERY}", inputs, uses, where)
        return
    name, dot, column = text.rpartition(".")
    table = name if "/" in name else inputs.get(name)
    if not dot or not column or table is None:
        raise ConvergenceError(
            f"{where}: {text!r} names no source; expected input.column, input.{EVERY} or use_case/table.column, with "
            f"one of the inputs {', '.join(inputs) or '(there are none)'}"
        )
    names = uses.get(name, (EVERY,)) if column == EVERY else (column,)
    yield from (Column(table, each) for each in names)


def _expanded(sources: Iterable[Column], known: Mapping[str, Sequence[str]]) -> tuple[Column, ...]:
    every = (
        Column(source.table, name)
        for source in sources
        for name in (known.get(source.table, ()) if source.name == EVERY else (source.name,))
    )
    return tuple(dict.fromkeys(every))


@dataclass(frozen=True)
class ColumnGraph:
    """The columns of every table, upstream tables first, and what each is made from."""

    tables: Mapping[str, Sequence[str]]
    sources: Mapping[Column, Sequence[Column]]

    @cached_property
    def followers(self) -> Mapping[Column, Sequence[Column]]:
        """What is made directly from each column."""
        found: dict[Column, list[Column]] = {}
        for column in self.columns:
            for source in self.sources.get(column, ()):
                found.setdefault(source, []).append(column)
        return found

    @property
    def columns(self) -> Iterator[Column]:
        """Every column, in the order of the tables."""
        return (Column(table, name) for table, names in self.tables.items() for name in names)

    def named(self, text: str) -> list[Column]:
        """The columns that `table.column` or `table` names. Raises UnknownColumn, with the names that come near."""
        if text in self.tables:
            return [Column(text, name) for name in self.tables[text]]
        table, _, name = text.rpartition(".")
        if name in self.tables.get(table, ()):
            return [Column(table, name)]
        if table in self.tables:
            raise UnknownColumn(f"{table} has no column {name!r}. {_near(name, self.tables[table], 'It has')}")
        raise UnknownColumn(f"no table is called {table or text!r}. {_near(table or text, self.tables, 'There are')}")

    def before(self, columns: Iterable[Column]) -> list[Column]:
        """All that these are made from, directly or not, themselves left out, upstream first."""
        return self._reached(columns, self.sources)

    def after(self, columns: Iterable[Column]) -> list[Column]:
        """All that is made from these, directly or not, themselves left out, upstream first."""
        return self._reached(columns, self.followers)

    def tree(self, column: Column, why: Mapping[Column, str] = MappingProxyType({})) -> list[str]:
        """Its sources as lines, indented; what was shown above is not repeated. `why` some have none."""
        lines: list[str] = []
        shown: set[Column] = set()

        def show(one: Column, depth: int) -> None:
            sources = self.sources.get(one, ())
            again = one in shown and bool(sources)
            said = "  (above)" if again else f"  ({why[one]})" if one in why else ""
            lines.append(f"{'  ' * depth}{one}{said}")
            shown.add(one)
            for source in () if again else sources:
                show(source, depth + 1)

        show(column, 0)
        return lines

    def _reached(self, columns: Iterable[Column], step: Mapping[Column, Sequence[Column]]) -> list[Column]:
        start = list(columns)
        seen, left = set(start), start.copy()
        while left:
            new = [one for one in step.get(left.pop(), ()) if one not in seen]
            seen.update(new)
            left += new
        return [column for column in self.columns if column in seen and column not in start]


def _near(text: str, known: Iterable[str], there: str) -> str:
    near = get_close_matches(text, list(known), n=5, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"{there} {', '.join(list(known)[:20])}."
