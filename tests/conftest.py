"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from convergence.lake.tables import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
