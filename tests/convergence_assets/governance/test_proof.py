"""The proof as an asset: what it reports, and that its check fails for anything but zeros."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from convergence.errors import ServiceError
from convergence.lake.tables import Lake
from convergence_assets.governance import proof
from convergence_assets.governance.contracts import ChaosTrial
from convergence_assets.governance.proof import chaos_report, exactly_once, run_chaos, totals, trials
from resources.lake import LakeIOManager

TRIAL = {
    "seed": 1, "case": "R-01", "sent": 10, "landed": 10, "lost": 0, "doubled": 0, "torn": 0, "failure": "",
    "seconds": 1.5, "findings": [], "told": ["..."], "passed": True,
}  # fmt: skip
Materialize = Callable[..., dg.ExecuteInProcessResult]


def report(*changes: dict[str, Any]) -> str:
    return "\n".join(json.dumps({**TRIAL, "seed": n, **change}) for n, change in enumerate(changes))


@pytest.fixture
def materialize(lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Materialize:
    """Materializes the asset with its check, the command being replaced by what it would report."""
    asked: list[dict[str, Any]] = []

    def run(*changes: dict[str, Any], **config: int) -> dg.ExecuteInProcessResult:
        monkeypatch.setattr(proof, "run_chaos", lambda **options: asked.append(options) or report(*changes))
        resources = {"lake": LakeIOManager(root=lake.root)}
        job = dg.Definitions(assets=[chaos_report], asset_checks=[exactly_once], resources=resources)
        result = job.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {"governance__chaos_report": {"config": config}}},
        )
        assert asked[-1] == {"runs": 10, "seed": 0, "parallel": 1} | config
        return result

    return run


def verdict(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = (e for e in result.get_asset_check_evaluations() if e.check_name == "exactly_once")
    return found


def test_a_report_keeps_the_contract_and_its_metadata_names_seeds_totals_and_versions() -> None:
    rows = trials(report({}, {"case": "R-30", "lost": 2}))
    ChaosTrial.validate(rows, lazy=True)
    said = totals(rows)
    assert (said["sent"], said["lost"], said["failed_trials"], said["seeds"]) == (20, 2, 1, "0, 1")
    assert said["trials_by_case"] == "R-01: 1, R-30: 1"
    assert "deltalake 1." in said["versions"]


def test_trials_without_a_loss_pass_and_are_rows_of_the_lake(materialize: Materialize, lake: Lake) -> None:
    result = materialize({}, {}, {}, runs=3, seed=0)
    assert result.success
    assert verdict(result).passed
    assert lake.scan("governance/chaos_report").collect()["seed"].to_list() == [0, 1, 2]


@pytest.mark.parametrize("wrong", [{"lost": 1}, {"doubled": 1}, {"torn": 1}, {"failure": "it did not come back"}])
def test_one_wrong_trial_fails_the_blocking_check_and_says_how_to_repeat_it(
    wrong: dict[str, Any], materialize: Materialize
) -> None:
    found = verdict(materialize({}, wrong, {}))
    assert not found.passed
    assert found.blocking
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert "convergence chaos --case R-01 --seed 1" in (found.description or "")


def test_before_the_proof_was_run_the_check_warns(lake: Lake, instance: dg.DagsterInstance) -> None:
    definitions = dg.Definitions(
        assets=[chaos_report], asset_checks=[exactly_once], resources={"lake": LakeIOManager(root=lake.root)},
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(exactly_once))],
    )  # fmt: skip
    found = verdict(definitions.resolve_job_def("checks").execute_in_process(instance=instance))
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_a_proof_that_breaks_off_says_what_it_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "convergence").mkdir()
    (tmp_path / "convergence" / "__init__.py").touch()
    (tmp_path / "convergence" / "cli.py").write_text("import sys; sys.exit('no java in PATH')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ServiceError, match=r"made 0 of 2 trials(.|\n)*no java in PATH"):
        run_chaos(runs=2, seed=0, parallel=1)
