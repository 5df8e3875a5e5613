"""A secret is planted in every setting that may hold one; everything fails; what is kept and served is searched."""

import itertools
import json
import runpy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.test.utils import execute_dagster_graphql
from pydantic import ValidationError

from convergence.cli import instance
from convergence.errors import ServiceError
from convergence.privacy import masking
from resources.configured import resources
from resources.environments import ROOT, Settings, settings
from resources.lake import LakeIOManager
from sensors.alerts import alerts
from tests.convergence.observability.test_traces import collector
from tests.resources.kept import found

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SCHEMES = {"redis": "redis", "postgres": "postgresql"}
OF_NO_SETTING = {  # what libraries know besides: masked by its form
    "an API key": "sk-Canary0Of0No0Setting0At0All",
    "a bearer token": "Canary1Of1No1Setting",
    "a DSN": "Canary2Of2No2Setting",
}
RESOURCES = """{ repositoriesOrError { ... on PythonError { message }
  ... on RepositoryConnection { nodes { allTopLevelResourceDetails {
    name configFields { name defaultValueAsJson } configuredValues { key value type } } } } } }"""
EVENTS = """{ runsOrError { ... on Runs { results { runConfigYaml eventConnection { events {
  ... on MessageEvent { message } ... on ExecutionStepFailureEvent {
    error { message stack causes { message stack } } failureMetadata { description } } } } } } } }"""
TICK = """mutation ($selector: SensorSelector!) { sensorDryRun(selectorData: $selector, cursor: null) {
  ... on DryRunInstigationTick { evaluationResult { error { message stack causes { message stack } } skipReason } }
  ... on PythonError { message } } }"""


def test_a_setting_that_is_no_secret_takes_none() -> None:
    """So that a new one is either masked and handed over by name, or cannot hold a password."""
    plain = [
        name
        for name, field in Settings.model_fields.items()
        if name not in Settings.secret_names() and str in _types(field)
    ]
    assert {"lake_url", "s3_endpoint", "kafka", "qdrant", "ui"} <= set(plain)
    for name in plain:
        with pytest.raises(ValidationError, match="holds a password or key") as refused:
            Settings(**{name: "https://me:Canary0123456789@host/"})
        assert "Canary" not in "; ".join(one["msg"] for one in refused.value.errors())


def _types(field: Any) -> set[Any]:
    return {field.annotation, *getattr(field.annotation, "__args__", ())}


def test_every_secret_is_handed_over_by_the_name_of_its_variable() -> None:
    assert set(Settings.secret_names()) >= {"postgres", "redis", "mlflow_url", "otlp", "qdrant_key", "alert_webhook"}
    made = resources(Settings(**dict.fromkeys(Settings.secret_names(), "http://me:Canary0123456789@host")))
    named = {value.env_var_name for each in made.values() for _, value in each if isinstance(value, dg.EnvVar)}
    assert named == {f"CONVERGENCE_{name.upper()}" for name in Settings.secret_names()}


class Planted(NamedTuple):
    """The code location with a secret in each setting, on an instance of its own."""

    canaries: Mapping[str, str]
    said: str  # what a library may say, with all of them
    home: Path
    defs: dg.Definitions
    dagster: dg.DagsterInstance
    posted: list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    home = tmp_path_factory.mktemp("planted") / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch, collector() as (address, posted):
        held = {name: f"Canary/{number}@{name}" for number, name in enumerate([*Settings.secret_names(), *AWS])}
        host = address.removeprefix("http://")
        urls = {
            name: f"{SCHEMES.get(name, 'http')}://me:{quote(held[name], safe='')}@{host}/x"
            for name in Settings.secret_names()
        }
        variables = {f"CONVERGENCE_{name.upper()}": url for name, url in urls.items()}
        for name, value in {**variables, **{name: held[name] for name in AWS}}.items():
            patch.setenv(name, value)
        patch.setenv("CONVERGENCE_HOME", str(home))
        patch.setenv("DAGSTER_HOME", "")
        patch.setattr(masking, "_secrets", set())
        patch.setattr(masking, "_words", masking._words)
        said = "; ".join(
            [*(f"no answer of {url}" for url in urls.values()), *(f"{value} is wrong" for value in held.values())]
        ) + (
            f"; api_key={OF_NO_SETTING['an API key']}, {OF_NO_SETTING['an API key']}"
            f"; Bearer {OF_NO_SETTING['a bearer token']}; mysql://me:{OF_NO_SETTING['a DSN']}@host/db"
        )
        spelled = {f"{name}, spelled for a URL": quote(value, safe="") for name, value in held.items()}
        settings.cache_clear()
        try:
            with instance() as dagster:
                loaded = runpy.run_module("convergence_assets.definitions", run_name="planted")
                yield Planted({**held, **spelled, **OF_NO_SETTING}, said, home, loaded["defs"], dagster, posted)
        finally:
            settings.cache_clear()


@contextmanager
def all_failing(said: str) -> Iterator[None]:
    """Whoever asks for the lake gets an error: a library's own, or one of ours that was raised from it, in turns."""
    turn = itertools.count()

    def failing(_: LakeIOManager) -> None:
        try:
            raise RuntimeError(said)
        except RuntimeError as error:
            if next(turn) % 2:
                raise
            raise ServiceError(said) from error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LakeIOManager, "lake", property(failing))
        yield


def representatives(defs: dg.Definitions) -> list[dg.AssetsDefinition]:
    """An asset of each layer and each kind of definition."""
    graph = defs.resolve_asset_graph()
    of: dict[tuple[Any, ...], dg.AssetsDefinition] = {}
    for key in sorted(graph.executable_asset_keys):
        made = graph.get(key).assets_def
        of.setdefault((graph.get(key).tags.get("layer"), "dbt" in graph.get(key).kinds, made.is_materializable), made)
    return list(of.values())


def failed(planted: Planted, job: dg.JobDefinition, **how: Any) -> bool:
    """Whether a run, which is not told on the console, fails."""
    config = how.pop("run_config", {}) | QUIET
    try:
        result = job.execute_in_process(instance=planted.dagster, raise_on_error=False, run_config=config, **how)
    except Exception as error:
        raise AssertionError(f"{job.name} {how} was not run") from error
    return not result.success


def test_no_secret_is_kept_or_served_when_everything_fails(planted: Planted) -> None:
    defs, job = planted.defs, planted.defs.resolve_implicit_global_asset_job_def()
    release = {"action": "promote", "reason": "test"}
    with all_failing(planted.said):
        for asset in representatives(defs):
            keys = asset.partitions_def.get_partition_keys() if asset.partitions_def else []
            day = {"partition_key": keys[-1]} if keys else {}
            assert failed(planted, job, asset_selection=[*asset.keys], **day), asset.keys
        assert failed(planted, defs.resolve_job_def("checks"))
        config = {"ops": {"release_fraud_model": {"config": release}}}
        assert failed(planted, defs.resolve_job_def("fraud_model_release"), run_config=config)
        served = list(answers(planted))
    alerted(planted)

    assert not [name for name, said in planted.canaries.items() if any(said in text for text in served)]
    assert found(planted.home, planted.canaries) == {}
    assert not [body for _, body in planted.posted if any(said.encode() in body for said in planted.canaries.values())]
    events = " ".join(served)
    assert "ServiceError: no answer of http://…@" in events  # what failed is told
    assert "RuntimeError: no answer of http://…@" in events
    assert "CONVERGENCE_MLFLOW_URL" in events  # of the resources, the name of the variable


def test_without_the_guards_the_canaries_are_found(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a search that finds nothing says something."""
    monkeypatch.setattr("resources.failures.foreign", lambda text, known=(): text)
    job = planted.defs.resolve_implicit_global_asset_job_def()
    with all_failing(planted.said):
        assert failed(planted, job, asset_selection=[dg.AssetKey(["governance", "lake_upkeep"])])
    held = {kind for kinds in found(planted.home, planted.canaries).values() for kind in kinds}
    assert held == {*planted.canaries} - {
        name for name in planted.canaries if "spelled" in name and name.startswith("AWS")
    }


def answers(planted: Planted) -> Iterator[str]:
    """What GraphQL serves: the page of the resources, a tick of each sensor, and the events of all runs."""
    target = LoadableTargetOrigin(python_file=str(ROOT / "convergence_assets" / "definitions.py"), attribute="defs")
    origin = InProcessCodeLocationOrigin(target, location_name="convergence")
    with WorkspaceProcessContext(planted.dagster, InProcessWorkspaceLoadTarget(origin)) as process:
        context = process.create_request_context()

        def asked(query: str, **variables: Any) -> str:
            return json.dumps(execute_dagster_graphql(context, query, variables).data, ensure_ascii=False)

        yield asked(RESOURCES)
        here = {"repositoryLocationName": "convergence", "repositoryName": "__repository__"}
        for sensor in ("arrivals", "drift", "reconcile"):
            told = asked(TICK, selector={**here, "sensorName": sensor})
            assert "Error" in told, told
            yield told
        yield asked(EVENTS)


def alerted(planted: Planted) -> None:
    """Have the alerts told, to the file and to the webhook."""
    cursor = json.dumps({channel: {"checks": 0, "runs": None} for channel in ("file", "webhook")})
    made = resources(settings())["alerts"].process_config_and_initialize()
    context = dg.build_sensor_context(instance=planted.dagster, cursor=cursor, resources={"alerts": made})
    said = str(alerts.evaluate_tick(context).skip_message)
    assert "webhook: " in said
    assert any(b'"kind": "run"' in body for _, body in planted.posted), said
