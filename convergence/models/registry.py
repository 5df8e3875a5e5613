"""MLflow runs and versions of models, for people to browse: the record is the lake, and MLflow repeats it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from convergence.errors import ModelError

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Registered(NamedTuple):
    """A version as MLflow knows it."""

    name: str
    version: str  # MLflow's own number
    uri: str


@dataclass(frozen=True)
class Registry:
    """An MLflow tracking store: a SQLite file with its artifacts beside it, or a server."""

    tracking_uri: str
    artifacts: str  # folder or URL of the artifacts of new experiments

    def log(
        self,
        experiment: str,
        run: str,
        *,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        files: Mapping[str, str],
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Record one finished run with text files; returns its id."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
        from mlflow.utils.time import get_current_time_millis

        client = MlflowClient(self.tracking_uri)
        found = client.get_experiment_by_name(experiment)
        experiment_id = (
            found.experiment_id if found else client.create_experiment(experiment, f"{self.artifacts}/{experiment}")
        )
        run_id = client.create_run(experiment_id, run_name=run, tags=dict(tags)).info.run_id
        now = get_current_time_millis()
        client.log_batch(
            run_id,
            metrics=[Metric(k, float(v), now, 0) for k, v in metrics.items()],
            params=[Param(k, str(v)) for k, v in parameters.items()],
        )
        with TemporaryDirectory() as folder:
            for name, text in files.items():
                (Path(folder) / name).write_text(text)
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id)
        return run_id

    def register(
        self, name: str, model_version: str, *, sha256: str, source: str, tags: Mapping[str, str] = MappingProxyType({})
    ) -> Registered:
        """Enter a version of a model, whose bytes stay where `source` says; one that is there already is left alone.

        Args:
            name: of the registered model, e.g. fraud_model.
            model_version: our own; it and `sha256` become tags beside `tags`.
            source: URI of the model in the lake; nothing is uploaded.
        """
        from mlflow import MlflowClient

        client = MlflowClient(self.tracking_uri)
        version = _versions(client, name).get(model_version)
        if version is None:
            _make(client, name)
            about = {**tags, "model_version": model_version, "sha256": sha256}
            version = str(
                client.create_model_version(
                    name, source, tags=about, run_id=self._run_of(client, name, model_version)
                ).version
            )
        return Registered(name, version, f"models:/{name}/{version}")

    def point(self, name: str, aliases: Mapping[str, str | None]) -> None:
        """Let aliases (champion, challenger, previous) name these of our versions, or nothing.

        Raises ModelError for a version that was never registered; nothing is changed then.
        """
        from mlflow import MlflowClient

        client = MlflowClient(self.tracking_uri)
        there = _versions(client, name)
        if missing := sorted({v for v in aliases.values() if v} - there.keys()):
            raise ModelError(f"{', '.join(missing)} of {name} are not registered in MLflow; register them first")
        for alias, version in aliases.items():
            if version:
                client.set_registered_model_alias(name, alias, there[version])
            elif there:
                client.delete_registered_model_alias(name, alias)

    def aliases(self, name: str) -> dict[str, str]:
        """Alias -> our model version, as MLflow has them; empty where the model was never registered."""
        from mlflow import MlflowClient

        client = MlflowClient(self.tracking_uri)
        ours = {version: model_version for model_version, version in _versions(client, name).items()}
        if not ours:
            return {}
        return {alias: ours[str(v)] for alias, v in client.get_registered_model(name).aliases.items()}

    def _run_of(self, client: "MlflowClient", name: str, model_version: str) -> str | None:
        """The training run that was logged under this name and version."""
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return None
        found = client.search_runs(
            [experiment.experiment_id], f"attributes.run_name = '{model_version}'", max_results=1
        )
        return found[0].info.run_id if found else None


def _make(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions(client: "MlflowClient", name: str) -> dict[str, str]:
    """Our model version -> MLflow's number; of two registrations at once, the first."""
    found = client.search_model_versions(f"name = '{name}'")
    return {v.tags["model_version"]: str(v.version) for v in sorted(found, key=lambda v: -int(v.version))}
