"""Numbers of pages: a use case without its tables keeps no other from having its own written."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from convergence import cli
from convergence.cli.docs import docs
from convergence.errors import TableMissing
from convergence.lake.tables import Lake
from convergence.marked_pages import MarkedPages
from convergence.use_case import UseCase


def test_a_page_without_its_tables_is_named_after_the_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(lake: Lake) -> dict[str, str]:
        raise TableMissing("one/scores has never been written: materialize it first")

    (tmp_path / "two.md").write_text("It is <!-- numbers: it -->old<!-- /numbers -->.")
    pages = {"one": MarkedPages(("one.md",), none), "two": MarkedPages(("two.md",), lambda lake: {"it": "new"})}
    declared = [UseCase(name=name, owner="team:test", pages=(its,)) for name, its in pages.items()]
    monkeypatch.setattr("convergence_assets.use_cases", lambda: declared)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    with pytest.raises(TableMissing, match="one/scores has never been written"):
        CliRunner().invoke(docs, [], catch_exceptions=False)
    assert (tmp_path / "two.md").read_text() == "It is <!-- numbers: it -->new<!-- /numbers -->."
