"""The small world that is served: landed history, and a champion."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from convergence.lake.tables import Lake
from tests.convergence.serving.service import decided, model
from tests.convergence.serving.trials import House, serving_house
from tests.convergence_assets.fraud.streams import history, landed


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Path]:
    home = tmp_path_factory.mktemp("home")
    lake = Lake(str(home / "lake"))
    landed(lake, home / "inbox", "history", history())
    decided(lake, model())
    return lake, home


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with serving_house(tmp_path_factory.mktemp("home")) as house:
        yield house
