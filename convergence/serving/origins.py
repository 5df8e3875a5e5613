"""Which run made a model: the first step from a score back to its trace and log, known before the model answers."""

import logging
from collections.abc import Callable
from typing import TypeVar

import polars as pl

from convergence.lake.tables import Lake
from convergence.models.releases import Release

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")


def run_that_made(lake: Lake, models: str, model_version: str) -> str | None:
    """The run that committed a version to a table of models by day; None if it is not there (any more).

    Raises TableMissing, LakeError.
    """
    row = lake.scan(models).filter(pl.col("model_version") == model_version).select("event_date").tail(1).collect()
    if row.is_empty():
        return None
    day = str(row.item())
    runs = [c.manifest["run_id"] for c in lake.commits(models) if day in c.manifest["partitions"]]
    return runs[-1] if runs else None


class Origins:
    """The runs of the models that one server has loaded; threads may share it."""

    def __init__(self, lake: Lake, models: str) -> None:
        self._lake, self._models = lake, models
        self._runs: dict[str, str | None] = {}

    def run_of(self, model_version: str) -> str | None:
        """The run that made a loaded model, None where it is not known; looks nothing up."""
        return self._runs.get(model_version)

    def noting(self, load: Callable[[Release], Loaded]) -> Callable[[Release], Loaded]:
        """`load`, which also notes where the model comes from; a model without a known origin serves all the same."""

        def loading(release: Release) -> Loaded:
            loaded, version = load(release), release.model_version
            try:
                self._runs[version] = run_that_made(self._lake, self._models, version)
            except Exception as error:  # whatever it is: a lost file of another model is no reason not to serve
                log.warning("the run that made %s is not known: %s", version, error)
            return loaded

        return loading
