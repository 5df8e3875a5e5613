"""Evidently's drift report as a page for people: on a sample, because it takes minutes on all rows. It decides nothing.

The verdicts come from `convergence.monitoring.drift`; this page is to look at distributions side by side. Evidently
comes with the benchmarks' libraries only: it brings pandas, and then every process that loads the graph starts slowly.
"""

# pyright: reportMissingImports=false

from pathlib import Path
from typing import NamedTuple

import polars as pl

from convergence.errors import ConvergenceError, SettingsError

SAMPLE = 50_000


class Written(NamedTuple):
    """A report on disk: rows of each sample, columns that Evidently calls drifted, and the size of the page."""

    reference_rows: int
    current_rows: int
    drifted_columns: int
    bytes: int


def write_report(reference: pl.DataFrame, current: pl.DataFrame, page: Path, *, sample: int = SAMPLE) -> Written:
    """Compare the columns of two frames by PSI and write the page. Raises ConvergenceError for an empty frame."""
    if reference.is_empty() or current.is_empty():
        raise ConvergenceError(
            f"a drift report needs rows of both windows; found {reference.height} and {current.height}: "
            "materialize the days of the windows first"
        )
    try:
        from evidently import Report
        from evidently.presets import DataDriftPreset
    except ImportError as error:
        raise SettingsError("Evidently, which makes the report, is not installed: `make .venv/bench` does") from error

    frames = [frame.sample(min(sample, frame.height), seed=0) for frame in (reference, current)]
    old, new = (frame.to_pandas(use_pyarrow_extension_array=False) for frame in frames)
    result = Report([DataDriftPreset(method="psi")]).run(current_data=new, reference_data=old)
    page.parent.mkdir(parents=True, exist_ok=True)
    result.save_html(str(page))
    counted = next(
        m["value"] for m in result.dict()["metrics"] if isinstance(m["value"], dict) and "count" in m["value"]
    )
    return Written(frames[0].height, frames[1].height, int(counted["count"]), page.stat().st_size)
