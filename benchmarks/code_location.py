"""What loading the code location costs beyond its libraries."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Section, alternately, compare

ROOT = Path(__file__).parents[1]
NOTHING = "import dagster, deltalake, pandera.polars, polars\n\ndefs = dagster.Definitions()\n"


def section(*, quick: bool) -> Section:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        Path(scratch, "nothing.py").write_text(NOTHING)
        environment = {**os.environ, "DAGSTER_HOME": scratch, "CONVERGENCE_HOME": scratch}

        def validate(folder: Path | str, module: str) -> None:
            command = [Path(sys.executable).parent / "dagster", "definitions", "validate", "-m", module, "-d", folder]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

        ours, nothing = alternately(
            3 if quick else 7,
            lambda: validate(ROOT, "convergence_assets.definitions"),
            lambda: validate(scratch, "nothing"),
        )
    return Section(
        "Loading the code location",
        "Ours: `dagster definitions validate` of this project. Reference: the same of a location that imports dagster, "
        "polars, deltalake and pandera.polars and defines nothing.",
        [compare("dagster definitions validate", ours, nothing, at_most=1.2)],
    )
