from pathlib import Path

import pytest
from mlflow import MlflowClient

from resources.experiments import Experiments


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


def experiments(home: Path) -> Experiments:
    return Experiments(tracking_uri=f"sqlite:///{home}/mlflow.db", artifacts=f"{home}/artifacts")


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
