"""Numbers of pages: a use case without its tables keeps no other from having its own written."""

from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from convergence import cli
from convergence.cli.docs import docs
from convergence.errors import TableMissing
from convergence.lake.tables import Lake
from convergence.marked_pages import MarkedPages
from convergence_assets import definitions


def declaring(name: str, pages: MarkedPages) -> ModuleType:
    module = ModuleType(f"convergence_assets.{name}.definitions")
    module.PAGES = pages  # pyright: ignore[reportAttributeAccessIssue]
    return module


def test_a_page_without_its_tables_is_named_after_the_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(lake: Lake) -> dict[str, str]:
        raise TableMissing("one/scores has never been written: materialize it first")

    (tmp_path / "two.md").write_text("It is <!-- numbers: it -->old<!-- /numbers -->.")
    modules = [
        declaring("one", MarkedPages(("one.md",), none)),
        declaring("two", MarkedPages(("two.md",), lambda lake: {"it": "new"})),
    ]
    monkeypatch.setattr(definitions, "use_cases", lambda: modules)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    with pytest.raises(TableMissing, match="one/scores has never been written"):
        CliRunner().invoke(docs, [], catch_exceptions=False)
    assert (tmp_path / "two.md").read_text() == "It is <!-- numbers: it -->new<!-- /numbers -->."
