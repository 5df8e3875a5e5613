"""Evidently's page: made by a Python of its own, from a sample, asking nobody on the network."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from convergence.errors import ConvergenceError, ServiceError, SettingsError
from convergence.monitoring.evidently_report import PYTHON, write_report

ROWS = pl.DataFrame({"x": [1.0]})


def stand_in(folder: Path, program: str) -> Path:
    """Evidently's Python with a program in place of its command line."""
    path = folder / "python"
    path.write_text(f"#!{PYTHON}\n{program}")
    path.chmod(0o755)
    return path


ALONE = """
import runpy, socket, sys

def refuse(*where, **_):
    raise SystemExit(f"a connection was tried: {where}")

socket.create_connection = socket.getaddrinfo = socket.socket.connect = refuse
sys.argv = sys.argv[4:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_page_shows_a_sample_names_what_moved_and_asks_nobody(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    old = pl.DataFrame(
        {"still": random.normal(size=900), "moved": random.normal(size=900), "flag": [True, False] * 450}
    )
    page = tmp_path / "reports" / "page.html"
    python = stand_in(tmp_path, ALONE)
    written = write_report(old, old.with_columns(pl.col("moved") + 3), page, sample=500, python=python)
    assert written == (500, 500, 1, page.stat().st_size)
    assert "moved" in page.read_text()


def test_a_window_without_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConvergenceError, match="found 1 and 0: materialize the days"):
        write_report(ROWS, ROWS.head(0), tmp_path / "page.html")


def test_without_evidently_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"expected .*nowhere; `make setup`"):
        write_report(ROWS, ROWS, tmp_path / "page.html", python=tmp_path / "nowhere")


def test_what_evidently_says_when_it_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"no report of page\.html, and ended with:\nout of order"):
        write_report(ROWS, ROWS, tmp_path / "page.html", python=stand_in(tmp_path, "raise SystemExit('out of order')"))
