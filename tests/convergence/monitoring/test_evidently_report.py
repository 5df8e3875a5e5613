"""Evidently's page: written from a sample, asking nobody on the network."""

import socket
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from convergence.errors import ConvergenceError, SettingsError
from convergence.monitoring.evidently_report import write_report

HERE = find_spec("evidently") is not None


@pytest.mark.skipif(not HERE, reason="Evidently comes with `make .venv/bench` only")
def test_the_page_shows_a_sample_names_what_moved_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*where: object, **_: object) -> None:
        raise AssertionError(f"a connection was tried: {where}")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    random = np.random.default_rng(0)
    old = pl.DataFrame(
        {"still": random.normal(size=900), "moved": random.normal(size=900), "flag": [True, False] * 450}
    )
    page = tmp_path / "reports" / "page.html"
    written = write_report(old, old.with_columns(pl.col("moved") + 3), page, sample=500)
    assert written == (500, 500, 1, page.stat().st_size)
    assert "moved" in page.read_text()


def test_a_window_without_rows_is_an_error(tmp_path: Path) -> None:
    rows = pl.DataFrame({"x": [1.0]})
    with pytest.raises(ConvergenceError, match="found 1 and 0: materialize the days"):
        write_report(rows, rows.head(0), tmp_path / "page.html")


@pytest.mark.skipif(HERE, reason="Evidently is installed")
def test_without_evidently_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    rows = pl.DataFrame({"x": [1.0]})
    with pytest.raises(SettingsError, match=r"make \.venv/bench"):
        write_report(rows, rows, tmp_path / "page.html")
