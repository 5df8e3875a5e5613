"""Releasing from the UI does what the commands do, by the same record."""

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from convergence.lake.tables import Lake
from convergence.models.registry import Registry
from convergence.models.release_log import newest, released
from convergence.models.releases import current
from convergence.services.redis import stop_embedded
from convergence.versions.audit import AuditLog
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.requests import FEATURES
from resources.experiments import Experiments
from resources.lake import LakeIOManager
from resources.online import Online
from tests.convergence.models.releasing import make


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database before anything is in it: making one takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    Registry(f"sqlite:///{folder}/mlflow.db", str(folder)).aliases("fraud_model")
    return folder / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, empty_registry: Path) -> Iterator[Path]:
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    yield tmp_path
    stop_embedded(tmp_path)


def run(lake: Lake, home: Path, instance: dg.DagsterInstance, **config: str) -> dg.ExecuteInProcessResult:
    (job,) = FRAUD.jobs
    return job.execute_in_process(
        run_config={"ops": {"release_fraud_model": {"config": {"reason": "because", **config}}}},
        resources={
            "lake": LakeIOManager(root=lake.root),
            "online": Online(home=str(home)),
            "experiments": Experiments(tracking_uri=f"sqlite:///{home}/mlflow.db", artifacts=str(home / "artifacts")),
        },
        instance=instance,
        raise_on_error=False,
    )


def test_promotions_and_a_rollback_from_the_ui_reach_log_redis_and_mlflow(
    lake: Lake, home: Path, instance: dg.DagsterInstance
) -> None:
    make(lake)
    for version in ("v0", "v1"):
        assert run(lake, home, instance, action="promote", version=version).success
    assert run(lake, home, instance, action="rollback").success
    log, online = AuditLog(lake.store), Online(home=str(home)).client()
    release = newest(log, "fraud_model")
    assert release is not None
    assert (release.model_version, release.fingerprint) == ("v0", FEATURES.online.layout.fingerprint)
    assert current(online, "fraud_model") == release
    registry = Registry(f"sqlite:///{home}/mlflow.db", "")
    assert registry.aliases("fraud_model") == {"champion": "v0"}
    me = pwd.getpwuid(os.getuid()).pw_name  # who the run is, whatever its config says
    assert [(e.actor, e.action) for e in log.entries()] == [(me, "promote")] * 2 + [(me, "rollback")]
    assert released(log, FRAUD.declared.name)["model_version"].to_list() == ["v0", "v1", "v0"]


def test_a_refused_version_fails_the_run_with_the_gates_words(
    lake: Lake, home: Path, instance: dg.DagsterInstance
) -> None:
    result = run(make(lake), home, instance, action="promote", version="v2")
    (failed,) = (e for e in result.all_events if e.is_step_failure)
    assert "the gate refused v2, so fraud_model stays as it is: v2 is refused: too slow" in str(
        failed.step_failure_data
    )
    assert [e.action for e in AuditLog(lake.store).entries()] == ["refuse"]


def test_a_refused_version_is_released_with_a_reason_that_goes_on_record(
    lake: Lake, home: Path, instance: dg.DagsterInstance
) -> None:
    assert run(make(lake), home, instance, action="promote", version="v2", override="tested by hand").success
    (entry,) = AuditLog(lake.store).entries()
    assert entry.detail["override"] == "tested by hand"


def test_a_runs_config_cannot_say_who_releases(lake: Lake, home: Path, instance: dg.DagsterInstance) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="actor"):
        run(make(lake), home, instance, action="promote", version="v0", actor="mallory")
    assert list(AuditLog(lake.store).entries()) == []
