"""The demo on a lake that is no folder."""

import uuid
from importlib import import_module
from pathlib import Path

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from convergence import cli
from convergence.lake.manifests import states
from resources.configured import resources
from resources.environments import settings
from resources.lake import lake_asset
from tests.convergence.lake.conftest import BUCKET, s3_options  # noqa: F401

demo = import_module("convergence.cli.demo")  # the package has a command of that name


class Count(pa.DataFrameModel):
    n: int


def test_a_lake_in_a_bucket_is_read_with_the_keys_of_the_environment(
    tmp_path: Path,
    s3_options: dict[str, str],  # noqa: F811
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @lake_asset(contract=Count, key_prefix="uc", tags={"layer": "dataset"})
    def counts() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, s3_options[name])
    monkeypatch.setenv("CONVERGENCE_HOME", str(tmp_path))
    monkeypatch.setenv("CONVERGENCE_LAKE_URL", f"s3://{BUCKET}/{uuid.uuid4()}")
    monkeypatch.setenv("CONVERGENCE_S3_ENDPOINT", s3_options["AWS_ENDPOINT_URL"])
    settings.cache_clear()
    try:
        monkeypatch.setattr(demo, "topics", dict)
        monkeypatch.setattr(demo, "checks", list)
        monkeypatch.setattr(demo, "defs", dg.Definitions(assets=[counts], resources=resources(settings())))
        assert demo.run_demo(instance, "uc")
        assert states(cli.lake(), ["uc/counts"])["uc/counts"][""].rows == 1
    finally:
        settings.cache_clear()
