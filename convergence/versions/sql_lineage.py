"""Which columns of which tables each column of a query is computed from, read from its SQL by sqlglot."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from convergence.errors import ConvergenceError
from convergence.privacy.masking import without_literals

if TYPE_CHECKING:
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import Node

_PAINT = re.compile("\x1b\\[\\d*m")  # sqlglot underlines where it stopped


class Relation(NamedTuple):
    """A table or view of a database, by as much of its name as a query gives."""

    name: str
    schema: str = ""
    database: str = ""

    def covers(self, other: "Relation") -> bool:
        """Whether a query that says `other` may mean this one."""
        pairs = zip(self, other, strict=True)
        return all(not theirs or mine.lower() == theirs.lower() for mine, theirs in pairs)


class UnreadableQuery(ConvergenceError):
    """A query's columns cannot be told from its text."""


def query_columns(
    sql: str, tables: Mapping[Relation, Sequence[str]], dialect: str = "duckdb"
) -> dict[str, tuple[tuple[Relation, str], ...]]:
    """The sources of each column of a query; `tables` are the columns of all that it may read, so that * is known.

    Conditions of joins and filters choose rows and are no sources of a column.

    Raises UnreadableQuery where the text does not parse, or reads a column that no table of these has.
    """
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    try:
        query = parse_one(sql, dialect=dialect)
        inner = {cte.alias.lower() for cte in query.find_all(exp.CTE)}
        read: dict[str, Relation] = {}
        for table in list(query.find_all(exp.Table)):
            said = Relation(table.name, table.db, table.catalog)
            if not table.db and table.name.lower() in inner:
                continue
            if meant := next((known for known in tables if known.covers(said)), None):
                # sqlglot wants all names to be of one depth
                read[f"t{len(read)}"] = meant
                table.replace(exp.alias_(exp.to_table(f"t{len(read) - 1}"), table.alias_or_name, table=True))
        schema: dict[str, object] = {n: dict.fromkeys(tables[meant], "unknown") for n, meant in read.items()}
        with_names = qualify(query, schema=schema, dialect=dialect)
        assert isinstance(with_names, exp.Query)
        scope = build_scope(with_names)
        found = {}
        for column in with_names.named_selects:
            leaves = _leaves(lineage(column, with_names, schema=schema, dialect=dialect, scope=scope))
            known = ((read[table], _as_written(name, tables[read[table]])) for table, name in leaves if table in read)
            found[column] = tuple(dict.fromkeys(known))
        return found
    except SqlglotError as error:
        raise UnreadableQuery(
            f"the columns of a query cannot be traced: {_why(error)}\n"
            f"Found: {' '.join(without_literals(sql).split())[:200]}\n"
            "Next: name every column's table, or describe the tables that it reads"
        ) from None


def _why(error: "SqlglotError") -> str:
    """What sqlglot could not do and where; where it did not understand, it would quote the text, values included."""
    from sqlglot.errors import ParseError, TokenError

    if isinstance(error, ParseError) and error.errors:
        return f"not understood at line {error.errors[0]['line']}, column {error.errors[0]['col']}"
    return "a text or name is not closed" if isinstance(error, TokenError) else _PAINT.sub("", str(error))


def _leaves(node: "Node") -> list[tuple[str, str]]:
    """The tables and columns where a column's tree ends."""
    from sqlglot import exp

    if node.downstream:
        return [leaf for below in node.downstream for leaf in _leaves(below)]
    is_column = isinstance(node.expression, exp.Table)
    return [(node.expression.name, node.name.rpartition(".")[2].strip('"'))] if is_column else []


def _as_written(name: str, columns: Sequence[str]) -> str:
    """The column that a name means: databases fold the case of names, each in its own way."""
    return next((column for column in columns if column.lower() == name.lower()), name)
