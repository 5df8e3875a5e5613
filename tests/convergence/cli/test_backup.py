"""A home, backed up and restored by command."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from convergence.lake.manifests import states
from convergence.lake.tables import Lake
from convergence.versions.audit import AuditLog, Draft
from resources import environments
from tests.convergence.cli.test_commands import outcome
from tests.convergence.lake.frames import TABLE, append, rows, write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a table, an entry of the audit log, a database that somebody writes to, and what is left out."""
    home = tmp_path / "home"
    live_in(home, monkeypatch)
    lake = Lake(str(home / "lake"))
    write(lake, rows(0, 1), rows(1, 2))
    append(lake, rows(1, 3), offset=1)
    AuditLog(lake.store).append(Draft("somebody", "promote", "fraud_model", {}))
    for name in ("dagster", "indexes/.open-1", "online", "inbox"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text("content")
    with closing(sqlite3.connect(home / "dagster" / "runs.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE runs AS SELECT 7 AS run")
    return home


def live_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = environments.Settings(home=home, data=None)
    monkeypatch.setattr(environments, "settings", lambda: here)


def test_a_restored_home_is_what_was_backed_up(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, again = tmp_path / "copy", tmp_path / "again"
    with closing(sqlite3.connect(home / "dagster" / "runs.db")) as database:
        database.execute("INSERT INTO runs VALUES (8)")
        database.commit()  # it is in the log beside the database, which is open
        assert outcome(monkeypatch, "backup", str(copy)) == 0
    live_in(again, monkeypatch)
    assert outcome(monkeypatch, "restore", str(copy)) == 0

    there = Lake(str(again / "lake"))
    assert states(there, [TABLE]) == states(Lake(str(home / "lake")), [TABLE])
    assert [entry.actor for entry in AuditLog(there.store).entries()] == ["somebody"]
    with closing(sqlite3.connect(again / "dagster" / "runs.db")) as database:
        assert database.execute("SELECT run FROM runs").fetchall() == [(7,), (8,)]
    assert sorted(path.name for path in again.iterdir()) == ["dagster", "inbox", "lake"]


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_damaged_backup_is_refused_by_the_name_of_its_file(
    harm: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, again = tmp_path / "copy", tmp_path / "again"
    assert outcome(monkeypatch, "backup", str(copy)) == 0
    file = copy / "inbox" / "file"
    file.write_text("other") if harm == "changed" else file.unlink()
    live_in(again, monkeypatch)
    assert outcome(monkeypatch, "restore", str(copy)) == 2
    assert "FileRefused: inbox/file is " in capsys.readouterr().err
    assert not again.exists()


def test_nothing_is_overwritten_and_nothing_unfinished_restored(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    assert outcome(monkeypatch, "backup", str(copy)) == 0
    assert outcome(monkeypatch, "backup", str(copy)) == 2
    assert "is not empty" in capsys.readouterr().err
    assert outcome(monkeypatch, "backup", str(home / "copy")) == 2
    assert outcome(monkeypatch, "restore", str(copy)) == 2
    assert "home is not empty" in capsys.readouterr().err
    shutil.rmtree(home)
    (copy / "backup.json").unlink()
    assert outcome(monkeypatch, "restore", str(copy)) == 2
    assert "was not finished" in capsys.readouterr().err


def test_a_commit_during_the_backup_leaves_it_whole(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convergence import backups

    lake, copied = Lake(str(home / "lake")), backups._copied

    def meanwhile(path: Path, to: Path, *, as_it_is: bool = False) -> str:
        if path.name == "_acknowledged":  # before each table, the collecting one among them
            write(lake, rows(0, len(list(lake.commits(TABLE)))))
        return copied(path, to, as_it_is=as_it_is)

    monkeypatch.setattr(backups, "_copied", meanwhile)
    assert outcome(monkeypatch, "backup", str(tmp_path / "copy")) == 0
    live_in(tmp_path / "again", monkeypatch)
    assert outcome(monkeypatch, "restore", str(tmp_path / "copy")) == 0
