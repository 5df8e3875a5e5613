"""The real H2O AutoML as rows of the leaderboard: same folds, its own process, nothing left of it."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from convergence.errors import ServiceError, SettingsError
from convergence.models import automl, families, h2o_leaderboard, stacking
from convergence.models.ensemble import Rows

FEATURES = ("a", "b")


def world() -> tuple[Rows, NDArray[np.int64]]:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(400, 2)).astype(np.float32)
    values[:20, 1] = np.nan
    label = draw.random(400) < 1 / (1 + np.exp(-2 * values[:, 0]))
    rows = Rows(values, label, np.full(400, np.datetime64("2024-01-01")), np.ones(400))
    return rows, stacking.stratified(label, folds=3)


def test_h2o_judges_its_models_on_the_same_folds_and_leaves_no_server_behind() -> None:
    rows, fold = world()
    found = h2o_leaderboard.leaderboard(rows, fold, FEATURES, models=1, budget=60, algorithms=["GLM"])
    (glm,) = [entry for entry in found.entries if entry.family == "glm"]
    ours = {e.family: e for e in automl.leaderboard(rows, fold, [families.families(FEATURES)["linear"]], trials=1,
                                                    budget=60)}  # fmt: skip
    assert glm.auc == pytest.approx(ours["linear"].auc, abs=0.01)  # the same rows were held out
    assert glm.auc_sd == pytest.approx(ours["linear"].auc_sd, abs=0.01)
    assert {entry.engine for entry in found.entries} == {"h2o"}
    assert glm.trials == 1
    assert not glm.cut_by_budget
    assert found.version
    assert found.seconds < 66
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in running.splitlines() if "h2o.jar" in line and "convergence-h2o-" in line]


def test_without_java_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServiceError, match="no java in JAVA_HOME"):
        h2o_leaderboard.leaderboard(*world(), FEATURES, models=1, budget=1)


def test_without_its_environment_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="H2O is not there"):
        h2o_leaderboard.leaderboard(*world(), FEATURES, models=1, budget=1, python=tmp_path / "python")


def test_what_h2o_complains_of_is_passed_on(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(ServiceError, match="out of memory"):
        h2o_leaderboard.leaderboard(*world(), FEATURES, models=1, budget=1, python=broken)
