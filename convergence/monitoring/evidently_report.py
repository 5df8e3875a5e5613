"""Evidently's drift report as a page for people: on a sample, because it takes minutes on all rows. It decides nothing.

The verdicts come from `convergence.monitoring.drift`; this page is to look at distributions side by side. Evidently
brings pandas, and then every process that loads the graph would start slowly: it lives in an environment of its own.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import polars as pl

from convergence.errors import ConvergenceError, ServiceError, SettingsError
from convergence.monitoring import evidently_page
from convergence.privacy.masking import told_by_child

SAMPLE = 50_000
PYTHON = Path(__file__).parents[2] / ".venv" / "companions" / "bin" / "python"


class Written(NamedTuple):
    """A report on disk: rows of each sample, columns that Evidently calls drifted, and the size of the page."""

    reference_rows: int
    current_rows: int
    drifted_columns: int
    bytes: int


class Compared(NamedTuple):
    """What Evidently found, and the seconds that comparing took it, without its start and without the page."""

    drifted_columns: int
    wall: float
    cpu: float


def write_report(
    reference: pl.DataFrame, current: pl.DataFrame, page: Path, *, sample: int = SAMPLE, python: Path = PYTHON
) -> Written:
    """Compare the columns of two frames by PSI and write the page. Raises as `compare`."""
    old, new = (frame.sample(min(sample, frame.height), seed=0) for frame in (reference, current))
    found = compare(old, new, page, python=python)
    return Written(old.height, new.height, found.drifted_columns, page.stat().st_size)


def compare(
    reference: pl.DataFrame, current: pl.DataFrame, page: Path, *, method: str = "psi", python: Path = PYTHON
) -> Compared:
    """Evidently's comparison of all rows of two frames, in the Python that has it; writes the page.

    Raises:
        ConvergenceError: a frame is empty.
        SettingsError: there is no such Python.
        ServiceError: Evidently failed; with the end of what it said.
    """
    if reference.is_empty() or current.is_empty():
        raise ConvergenceError(
            f"a drift report needs rows of both windows; found {reference.height} and {current.height}: "
            "materialize the days of the windows first"
        )
    if not python.exists():
        raise SettingsError(f"Evidently, which makes the report, is not there: expected {python}; `make setup` does it")
    page.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="convergence-evidently-") as folder:
        files = [Path(folder, f"{name}.parquet") for name in ("reference", "current")]
        for frame, file in zip((reference, current), files, strict=True):
            frame.write_parquet(file)
        # Evidently reports its use otherwise; its own folder has modules (-P) that would hide others of their name
        command = ["env", "DO_NOT_TRACK=1", python, "-P", "-W", "ignore", evidently_page.__file__, *files, page, method]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"Evidently made no report of {page.name}, and ended with:\n{told_by_child(done.stderr)}")
    return Compared(**json.loads(done.stdout.splitlines()[-1]))
