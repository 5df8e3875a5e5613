"""H2O AutoML as further rows of a leaderboard, on the same folds. It needs Java, and is only run when it is asked for.

H2O brings pandas, so it lives in the environment beside ours and is run as a process of its own, which nothing of it
survives: neither the JVM nor its files.
"""

import json
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ServiceError, SettingsError
from convergence.models import h2o_automl
from convergence.models.automl import Entry
from convergence.models.ensemble import Rows
from convergence.privacy.masking import told_by_child
from convergence.services.jars import java
from convergence.services.together import together

PYTHON = Path(__file__).parents[2] / ".venv" / "companions" / "bin" / "python"
ENGINE = "h2o"
MEMORY = 2 << 30
ALGORITHMS = ("XGBoost", "GLM", "DRF", "GBM", "StackedEnsemble")  # not DeepLearning: it cannot be seeded
START_S = 90  # beyond the budget: start of the JVM, import and metrics


class Found(NamedTuple):
    """The best model of each of H2O's algorithms, what H2O it was, and the seconds of the search alone."""

    entries: list[Entry]
    version: str
    seconds: float


def leaderboard(
    rows: Rows,
    fold: NDArray[np.int64],
    features: Sequence[str],
    *,
    models: int,
    budget: float,
    algorithms: Sequence[str] = ALGORITHMS,
    seed: int = 1,
    threads: int = 1,
    python: Path = PYTHON,
) -> Found:
    """Let H2O search on given folds, the least log loss first.

    Args:
        rows: n rows, both classes; their weights are not used.
        fold: the fold of each row.
        features: names of the columns.
        models: base models at most; stacked ensembles come on top.
        budget: seconds of the search, the start of the JVM not counted.
        algorithms: which of H2O's.
        seed: of the search; equal as long as the budget does not cut it.
        threads: of the JVM.
        python: that has H2O.

    Raises:
        ServiceError: there is no Java that is new enough, or H2O failed; with the end of what it said.
        SettingsError: there is no such Python.
    """
    home = Path(java()).resolve().parents[1]
    if not python.exists():
        raise SettingsError(f"H2O is not there: expected {python}; `make setup` does it, or leave out the engine h2o")
    settings = {
        "models": models,
        "budget": max(1, round(budget)),  # whole seconds; 0 would be no limit
        "algorithms": list(algorithms),
        "seed": seed,
        "threads": threads,
        "memory": MEMORY,
        "port": _free_pair(),
    }
    frame = pl.DataFrame(rows.values, schema=list(features)).fill_nan(None)
    with tempfile.TemporaryDirectory(prefix="convergence-h2o-") as folder:
        file = Path(folder, "rows.parquet")
        frame.with_columns(label=pl.Series(rows.label), fold=pl.Series(fold)).write_parquet(file)
        command = [python, "-P", "-W", "ignore", h2o_automl.__file__, file, json.dumps(settings), folder]
        _run(list(map(str, command)), home, budget + START_S)
        answer = json.loads(Path(folder, "found.json").read_text())
    best: dict[str, Entry] = {}
    counted: dict[str, int] = {}
    for row in answer["models"]:
        family = row["algorithm"]
        counted[family] = counted.get(family, 0) + 1
        figures = {name: row[name] for name in Entry._fields if name in row and name != "seconds"}
        entry = Entry(
            engine=ENGINE,
            family=family,
            trials=1,
            cut_by_budget=False,
            parameters={"model": row["model"]},
            seconds=row["seconds"],
            **figures,
        )
        if family not in best or entry.log_loss < best[family].log_loss:
            best[family] = entry
    made = sum(n for family, n in counted.items() if family != "stackedensemble")
    entries = [entry._replace(trials=counted[f], cut_by_budget=made < models) for f, entry in best.items()]
    return Found(sorted(entries, key=lambda e: e.log_loss), answer["version"], answer["seconds"])


def _run(command: list[str], home: Path, limit: float) -> None:
    """H2O's process from start to end; nothing of its group is left, however it or this process ends."""
    within = ["env", f"H2O_JAVA_HOME={home}", "DO_NOT_TRACK=1", *command]  # it reports its use otherwise
    with together(patience=0) as group:
        process = group.start(within, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, complained = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired as error:
            told = f"H2O did not answer within {limit:.0f} s and was ended; give it a larger budget"
            raise ServiceError(told) from error
    if process.returncode:
        raise ServiceError(f"H2O AutoML failed, and ended with:\n{told_by_child(complained)}")


def _free_pair() -> int:
    """A port that is free with the one above it: H2O listens on both."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
