import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient

from convergence.errors import ModelError
from convergence.models.registry import Registered, Registry


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """Two runs of one experiment: working folder, store, and the ids of the runs."""
    elsewhere, home = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("home")
    store = experiments(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        ids = [
            store.log(
                "fraud", f"as of day {n}", parameters={"depth": 5}, metrics={"auc": n / 2}, files={"card.md": "# A"}
            )
            for n in (0, 1)
        ]
    return elsewhere, home, ids


def experiments(home: Path) -> Registry:
    return Registry(f"sqlite:///{home}/mlflow.db", f"{home}/artifacts")


def test_a_run_can_be_read_back(logged: tuple[Path, Path, list[str]]) -> None:
    _, home, (_, last) = logged
    run = MlflowClient(experiments(home).tracking_uri).get_run(last)
    assert run.info.run_name == "as of day 1"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"depth": "5"}
    assert run.data.metrics == {"auc": 0.5}


def test_runs_of_one_name_share_an_experiment(logged: tuple[Path, Path, list[str]]) -> None:
    _, home, ids = logged
    client = MlflowClient(experiments(home).tracking_uri)
    found = client.get_experiment_by_name("fraud")
    assert found is not None
    assert {run.info.run_id for run in client.search_runs([found.experiment_id])} == set(ids)


def test_files_are_kept_as_artifacts(logged: tuple[Path, Path, list[str]]) -> None:
    _, home, ids = logged
    texts = {path.parts[-3]: path.read_text() for path in (home / "artifacts").rglob("card.md")}
    assert texts == dict.fromkeys(ids, "# A")


def test_nothing_is_written_outside_its_folder(logged: tuple[Path, Path, list[str]]) -> None:
    elsewhere, home, _ = logged
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in home.iterdir()} == {"mlflow.db", "artifacts"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    store = experiments(tmp_path_factory.mktemp("registry"))
    store.log("m", "v1", parameters={}, metrics={}, files={})
    register(store, "m", ["v1", "v2", "v3"])
    return store


def register(store: Registry, name: str, versions: Sequence[str]) -> list[Registered]:
    return [
        store.register(name, v, sha256=f"hash of {v}", source=f"file:///lake/_models/{v}", tags={"dagster_run": "r1"})
        for v in versions
    ]


def test_a_registered_version_says_what_it_is_and_where_it_lies(registry: Registry) -> None:
    (made,) = register(registry, "m", ["v1"])
    assert made == Registered("m", "1", "models:/m/1")
    version = MlflowClient(registry.tracking_uri).get_model_version("m", "1")
    assert version.tags == {"model_version": "v1", "sha256": "hash of v1", "dagster_run": "r1"}
    assert version.source == "file:///lake/_models/v1"


def test_a_version_is_linked_to_its_training_run(registry: Registry) -> None:
    client = MlflowClient(registry.tracking_uri)
    run = client.get_run(str(client.get_model_version("m", "1").run_id))
    assert run.info.run_name == "v1"
    assert not client.get_model_version("m", "2").run_id


def test_registering_again_changes_nothing(registry: Registry) -> None:
    again = register(registry, "m", ["v1", "v2", "v3"])
    assert [r.version for r in again] == ["1", "2", "3"]
    assert len(MlflowClient(registry.tracking_uri).search_model_versions("name = 'm'")) == 3


def test_aliases_move_and_go(registry: Registry) -> None:
    registry.point("m", {"champion": "v2", "previous": "v1", "challenger": "v3"})
    registry.point("m", {"champion": "v3", "previous": "v2", "challenger": None})
    for _ in range(2):
        assert registry.aliases("m") == {"champion": "v3", "previous": "v2"}
        registry.point("m", {"challenger": None})


def test_an_alias_for_a_version_that_is_not_there_is_refused_and_none_is_moved(registry: Registry) -> None:
    before = registry.aliases("m")
    with pytest.raises(ModelError, match="v9 of m are not registered in MLflow"):
        registry.point("m", {"champion": "v1", "previous": "v9"})
    assert registry.aliases("m") == before


def test_a_model_that_was_never_registered_has_no_alias(registry: Registry) -> None:
    assert registry.aliases("unknown") == {}


def test_a_registration_takes_less_than_a_second(registry: Registry) -> None:
    began = time.perf_counter()
    register(registry, "timed", ["v1"])
    assert time.perf_counter() - began < 1
