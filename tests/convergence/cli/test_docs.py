"""Numbers of pages: a use case without its tables keeps no other from having its own written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from convergence import cli
from convergence.cli.docs import docs
from convergence.errors import TableMissing
from convergence.lake.tables import Lake
from convergence.marked_pages import MarkedPages
from convergence.use_case import UseCase


def none(lake: Lake) -> dict[str, str]:
    raise TableMissing("one/scores has never been written: materialize it first")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """What `convergence docs` answers where use cases declare these pages."""

    def ran(**pages: MarkedPages) -> Result:
        declared = [UseCase(name=name, owner="team:test", pages=(its,)) for name, its in pages.items()]
        monkeypatch.setattr("convergence_assets.use_cases", lambda: declared)
        monkeypatch.setattr(cli, "ROOT", tmp_path)
        return CliRunner().invoke(docs, [], catch_exceptions=False)

    return ran


def test_a_page_without_its_tables_keeps_no_other_from_its_numbers(tmp_path: Path, run: Callable[..., Result]) -> None:
    (tmp_path / "two.md").write_text("It is <!-- numbers: it -->old<!-- /numbers -->.")
    result = run(one=MarkedPages(("one.md",), none), two=MarkedPages(("two.md",), lambda lake: {"it": "new"}))
    assert (result.exit_code, "one.md: one/scores has never been written" in result.stderr) == (1, True)
    assert (tmp_path / "two.md").read_text() == "It is <!-- numbers: it -->new<!-- /numbers -->."


def test_what_no_demo_makes_is_named_and_left_as_it_was(tmp_path: Path, run: Callable[..., Result]) -> None:
    page = "<!-- numbers: it -->{}<!-- /numbers -->, <!-- numbers: served -->old<!-- /numbers -->"
    (tmp_path / "one.md").write_text(page.format("old"))
    result = run(one=MarkedPages(("one.md",), lambda lake: {"it": "new"}, apart=(none,)))
    assert (result.exit_code, result.stdout) == (1, "one.md: 1 numbers and tables, new, served left as before\n")
    assert "materialize it first" in result.stderr
    assert (tmp_path / "one.md").read_text() == page.format("new")
