"""What a person is told when a disk or a file is in the way, and that looking changes nothing."""

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from convergence import cli
from convergence.cli.disk import told
from convergence.lake.tables import Lake
from convergence.versions.audit import AuditLog, Draft
from resources import environments
from tests.convergence.cli.test_commands import outcome
from tests.convergence.disks import fill, read_only, small_disk
from tests.convergence.lake.frames import TABLE, append, day, rows, write

Said = Callable[..., tuple[int | str | None, str]]  # exit code and standard error of a command

CHECK = "check --partition 2018-08-01"
READING = {
    "manifest": ["manifest", TABLE, "--partition", day(0)],
    "verify": ["verify"],
    "audit": ["audit", "verify"],
    "audit list": ["audit", "list"],
    "rejected": ["rejected", "list", "fraud.transactions"],
    "index": ["index", "ls"],
    "features": ["features", "ls"],
    "contracts": ["contract", "check"],
    "services": ["services", "status"],
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = environments.Settings(home=tmp_path / "home", data=None)
    monkeypatch.setattr(environments, "settings", lambda: here)
    return here.home


@pytest.fixture
def written(home: Path) -> Path:
    """A home with a table, the last commit of which is not recorded yet, and an entry of the audit log."""
    lake = Lake(str(home / "lake"))
    write(lake, rows(0, 1), rows(1, 2))
    append(lake, rows(2, 3), offset=1)
    AuditLog(lake.store).append(Draft("somebody", "promote", "fraud_model", {}))
    return home


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    def run(*words: str) -> tuple[int | str | None, str]:
        code = outcome(monkeypatch, *words)
        return code, capsys.readouterr().err

    return run


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


def test_what_only_reads_works_on_a_read_only_home(written: Path, said: Said) -> None:
    before = listing(written)
    with read_only(written):
        for name, words in READING.items():
            code, error = said(*words)
            assert code == 0, (name, error)
    assert listing(written) == before


def test_what_only_reads_makes_no_home(home: Path, said: Said) -> None:
    for words in [words for name, words in READING.items() if name != "manifest"]:
        assert said(*words)[0] == 0
    assert said(*READING["manifest"])[0] == 2
    assert not home.exists()


@pytest.mark.parametrize("command", ["replay fraud.transactions --days 2018-04-01..2018-04-01", CHECK])
def test_a_command_that_writes_says_in_a_line_that_the_home_is_read_only(
    command: str, written: Path, said: Said
) -> None:
    with read_only(written):
        code, error = said(*command.split())
    assert code == 2
    assert "home" in error
    assert "the file system is read-only. Next: " in error
    assert error.count("\n") == 1


def test_a_full_disk_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    with small_disk(tmp_path / "disk") as disk:
        here = environments.Settings(home=disk / "home", data=None)
        monkeypatch.setattr(environments, "settings", lambda: here)
        fill(disk)
        code, error = said(*CHECK.split())
    assert code == 2
    assert "no space is left on the disk" in error
    assert error.count("\n") == 1


def test_a_damaged_database_is_named(written: Path, said: Said) -> None:
    with cli.instance():
        pass
    databases = sorted((written / "dagster").rglob("*.db"))
    assert len(databases) > 1
    for database in databases:
        whole = database.read_bytes()
        database.write_bytes(b"no database" * 100)
        code, error = said(*CHECK.split())
        assert code == 2
        assert error.startswith(f"DiskError: home/{database.relative_to(written)}: it is damaged. Next: ")
        database.write_bytes(whole)


def test_a_damaged_database_of_experiments_is_named(home: Path) -> None:
    (home / "mlflow").mkdir(parents=True)
    (home / "mlflow" / "mlflow.db").write_bytes(b"no database" * 100)
    connection = sqlite3.connect(home / "mlflow" / "mlflow.db")
    with closing(connection), pytest.raises(sqlite3.DatabaseError) as failed:
        connection.execute("SELECT * FROM experiments")
    wrapped = RuntimeError("the library's own")
    wrapped.__cause__ = failed.value
    assert "home/mlflow/mlflow.db: it is damaged" in (told(wrapped, home) or "")


@pytest.mark.parametrize(("name", "words"), [("0000000001.json", ["audit", "list"]), ("head.json", ["audit", "list"])])
def test_a_damaged_file_of_the_audit_log_is_named(name: str, words: list[str], written: Path, said: Said) -> None:
    (written / "lake" / "_audit" / name).write_bytes(b"{")
    code, error = said(*words)
    assert code == 2
    assert ("entry 1" if name[0] == "0" else "head.json") in error
    assert error.count("\n") == 1


def test_a_damaged_alias_of_an_index_is_named(home: Path, said: Said) -> None:
    folder = home / "indexes" / "semantic_search"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "index.json").write_text('{"counts": {}, "backend": "x"}')
    (folder / "live.json").write_text("{")
    code, error = said("index", "ls")
    assert code == 2
    assert error.startswith("SearchError: live.json cannot be read")
    assert error.count("\n") == 1


def test_another_owner_is_named_with_who_this_is(tmp_path: Path) -> None:
    (place := tmp_path / "home" / "inbox").mkdir(parents=True, mode=0o750)
    line = told(PermissionError(errno.EACCES, "Permission denied", str(place / "a")), tmp_path / "home") or ""
    assert line.startswith("home/inbox/a: this user may not (owner ")
    assert "mode 750; this is " in line


def test_an_error_that_no_disk_is_behind_is_left_as_it_is(tmp_path: Path) -> None:
    assert told(ValueError("no"), tmp_path) is None
    assert told(ConnectionRefusedError(errno.ECONNREFUSED, "refused"), tmp_path) is None
    assert told(sqlite3.ProgrammingError("closed"), tmp_path) is None
