"""MLflow runs of trained and evaluated models, for people to browse: the record is the lake."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg


class Experiments(dg.ConfigurableResource):
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
        run_id = client.create_run(experiment_id, run_name=run).info.run_id
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
