import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from convergence.versions import revision


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with one commit, in place of our own."""
    monkeypatch.setattr(revision, "ROOT", tmp_path)
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "First")
    revision.code_revision.cache_clear()
    yield tmp_path
    revision.code_revision.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_is_that_of_the_checkout(checkout: Path) -> None:
    assert revision.code_revision() == git(checkout, "rev-parse", "HEAD")


def test_changed_files_are_said(checkout: Path) -> None:
    (checkout / "code.py").write_text("2")
    assert revision.code_revision() == git(checkout, "rev-parse", "HEAD") + "+changes"


def test_new_files_change_nothing(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("2")
    assert revision.code_revision() == git(checkout, "rev-parse", "HEAD")


def test_the_revision_is_unknown_where_git_is_not_installed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert revision.code_revision() == "unknown"


def test_the_lock_is_told_by_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision, "ROOT", tmp_path)
    found = []
    for text in ("polars==1", "polars==2", None):
        (tmp_path / "requirements.lock").write_text(text) if text else (tmp_path / "requirements.lock").unlink()
        revision.lock_hash.cache_clear()
        found.append(revision.lock_hash())
    revision.lock_hash.cache_clear()
    assert found[2] == "unknown"
    assert len({*found}) == 3
