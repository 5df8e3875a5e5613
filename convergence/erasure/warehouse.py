"""The SQL warehouse without a subject: emptied, for all of it can be built again from the lake.

Deleted rows would stay in the pages of its files until something else is written there.
"""

from collections.abc import Callable
from dataclasses import dataclass

from convergence.erasure.subjects import Erased, Subject
from convergence.warehouse.warehouse import MARTS, Session, Warehouse

_COLUMNS = """
select c.table_schema, c.table_name, c.column_name from information_schema.columns c
join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name
where t.table_type = 'BASE TABLE' order by 1, 2, 3
"""  # a view reads the lake's files, and has no rows of its own


@dataclass(frozen=True)
class WarehouseTables:
    """What dbt reads and builds. `stale`: whether any table of the lake has lost rows in this erasure."""

    warehouse: Warehouse
    stale: Callable[[], bool]
    how = "columns that name the subject, and emptied wherever a table of the lake has lost rows"

    @property
    def name(self) -> str:
        """For the certificate."""
        return f"warehouse, {self.warehouse.name}"

    def erase(self, subject: Subject, *, dry_run: bool) -> Erased:
        """Empty the warehouse where it holds the subject, or was built from what did."""
        with self.warehouse.session() as session:
            found = {place: count for place, count in _counts(session, subject).items() if count}
        if not dry_run and (found or self.stale()):
            self.warehouse.empty()
        return Erased(sum(found.values()), sorted(found))


def _counts(session: Session, subject: Subject) -> dict[str, int]:
    """Rows that name the subject, by table."""
    ids = sorted(subject.ids)
    counts: dict[str, int] = {}
    for schema, table, column in session.frame(_COLUMNS).iter_rows():
        if column in subject.fields and (schema == MARTS or schema.startswith("lake_")):
            marks = ", ".join("?" for _ in ids)
            sql = f'select count(*) as n from {schema}.{table} where cast("{column}" as text) in ({marks})'
            counts[f"{schema}.{table}"] = int(session.frame(sql, ids).item())
    return counts
