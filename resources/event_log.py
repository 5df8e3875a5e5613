"""Many events in one run at a fraction of their cost on Dagster's SQLite event log."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg


@contextmanager
def held_open(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep one connection to the event log open, where it is a single SQLite file.

    Dagster opens and closes connections for each event, and SQLite folds its write-ahead log into the file whenever
    the last one closes: that costs more than the event itself.
    """
    path_of_log = getattr(instance.event_log_storage, "get_db_path", None)
    if path_of_log is None:
        yield
        return
    with closing(sqlite3.connect(path_of_log(), check_same_thread=False)) as connection:
        connection.execute("SELECT name FROM sqlite_master").fetchall()  # SQLite opens the file with the first read
        yield
