"""The guides run as they stand and in order: the second goes on in the small world that the first one makes."""

from pathlib import Path

import pytest

from tests.docs.guides import blocks, missing, run
from tests.graph.house import ROOT

GUIDES = ["03-feature-stores.md", "04-model-training.md"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guides")


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_runs_and_prints_what_it_says(name: str, folder: Path) -> None:
    guide = blocks((ROOT / "docs" / "guides" / name).read_text())
    for block, said in zip(guide, run(guide, folder), strict=True):
        assert missing(block.expected, said) is None, f"{block.code}\n{said[-3000:]}"
