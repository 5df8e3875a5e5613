"""Figures of machines as money."""

from pathlib import Path

import pytest

from convergence.catalog.prices import Prices, read_prices
from convergence.errors import SettingsError
from resources.environments import ROOT

GIVEN = 'currency = "CHF"\ncpu_hour = 0.5\nmemory_gib_hour = 0.25\nstorage_gb_month = 2\n'


def test_work_costs_its_cpu_and_its_memory_for_as_long_as_it_took() -> None:
    prices = Prices("CHF", cpu_hour=0.5, memory_gib_hour=0.25, storage_gb_month=2.0)
    assert prices.of_making(cpu_seconds=3600, elapsed_seconds=1800, peak_memory_mib=4096) == 0.5 + 0.25 * 4 / 2
    assert prices.of_keeping(500_000_000) == 1.0


def test_a_file_gives_the_prices_and_the_example_is_one(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(GIVEN)
    assert read_prices(file) == Prices("CHF", 0.5, 0.25, 2.0)
    assert read_prices(ROOT / "deploy" / "prices.toml").currency == "EUR"


@pytest.mark.parametrize(
    "text",
    [
        GIVEN.replace("0.5", "-1"),
        GIVEN.replace("0.5", '"much"'),
        GIVEN.replace("0.5", "inf"),
        GIVEN.replace("0.5", "true"),
        GIVEN.replace("cpu_hour", "cpu"),
        GIVEN + "discount = 1\n",
        "currency = ",
    ],
)
def test_a_file_that_does_not_give_them_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"prices\.toml"):
        read_prices(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no prices"):
        read_prices(tmp_path / "none.toml")
