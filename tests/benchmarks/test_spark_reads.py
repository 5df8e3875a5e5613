"""Spark, the reference, reads tables whose columns changed as every other reader does."""

import subprocess
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.streaming import ROOT
from convergence.lake.tables import Lake
from convergence.services.jars import install
from resources.environments import Settings
from tests.conftest import needed_service
from tests.convergence.lake.evolution import CHANGES, ORDERS, written


@pytest.mark.skipif(find_spec("pyspark") is None, reason="`make bench` installs pyspark")
def test_spark_reads_the_rows_of_tables_whose_columns_changed(lake: Lake, tmp_path: Path) -> None:
    with needed_service():
        jars = ",".join(
            map(str, install(ROOT / "deploy" / "spark", Settings().home / "services" / "spark").glob("*.jar"))
        )
    expected = {
        f"evolved_{number}/facts": list(written(lake, f"evolved_{number}/facts", change, order))[-1]
        for number, (change, order) in enumerate(product(CHANGES, ORDERS))
    }
    out = {table: tmp_path / table for table in expected}
    pairs = [f"{lake.uri(table)}=>{path}" for table, path in out.items()]
    command = [sys.executable, "-m", "tests.benchmarks.spark_side", jars, *pairs]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for table, rows in expected.items():
        found = pl.read_parquet(out[table] / "*.parquet").sort("sequence")
        assert_frame_equal(found.cast({**rows.schema}), rows, check_column_order=False, check_exact=True)
