"""The offline store in PostgreSQL without a subject: a table that held it is dropped, for it can be published again.

Deleted rows would stay in its pages until something else is written there.
"""

from dataclasses import dataclass, field

from convergence.erasure.subjects import Erased, Subject
from convergence.features.offline_postgres import PostgresOffline


@dataclass(frozen=True)
class OfflineTables:
    """Feature tables in the database at `url`."""

    url: str = field(repr=False)
    name = "offline store, PostgreSQL"
    how = "columns that name the subject"

    def erase(self, subject: Subject, *, dry_run: bool) -> Erased:
        """Drop the tables that hold the subject. Raises ServiceError where the database cannot be reached."""
        store, ids = PostgresOffline(self.url), sorted(subject.ids)
        counts = {table: store.rows_with(table, column, ids) for table, column in subject.columns.items()}
        found = {table: count for table, count in counts.items() if count}
        for table in () if dry_run else found:
            store.withdraw(table)
        return Erased(sum(found.values()), sorted(found))
