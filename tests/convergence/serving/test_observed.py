"""A service that is observed: real scrapes, exemplars, traces and log lines that one id leads through."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from redis import Redis

import resources.environments
from convergence.cli.serve import composed
from convergence.features.online_store import OnlineStore
from convergence.lake.contracts import schema_of
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.monitoring.contracts import Drift
from convergence.observability.logs import log_beside
from convergence.observability.traces import Tracer, tracer
from convergence.serving.access import Access, Token
from convergence_assets.fraud.features import DAILY
from convergence_assets.fraud.online import fill_online
from convergence_assets.fraud.requests import FEATURES
from convergence_assets.fraud.use_case import SERVED
from resources.environments import ROOT, Settings
from resources.lake import LakeIOManager, lake_asset
from resources.tracing import trace_of
from tests.convergence.redis_servers import redis_server
from tests.convergence.serving.service import decided, model, running
from tests.convergence.serving.test_service import SCORE, one
from tests.deploy.prometheus_tools import prometheus_tool
from tests.deploy.test_prometheus import PROMETHEUS, alerts, asked_by_the_dashboard

VERSION = "2018-05-06-traced"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Model(pa.DataFrameModel):
    event_date: date = pa.Field(description="As-of date")
    model_version: str = pa.Field(description="Its name")


@lake_asset(contract=Model, partitions_def=DAILY, key_prefix="fraud", code_version="1", tags={"layer": "model"})
def fraud_model() -> pl.DataFrame:
    return pl.DataFrame({"event_date": [date(2018, 5, 6)], "model_version": [VERSION]})


def drifted(lake: Lake) -> None:
    """Two judged days: a feature that was stable has drifted on the newer one, another has left."""
    for day, verdict, psi in ((5, "stable", 0.01), (6, "drift", 0.7)):
        shared = {"event_date": date(2018, 5, day), "window_days": 7}
        rows = [
            shared | {"feature": "amount", "psi": psi, "ks": psi / 2, "verdict": verdict},
            shared | {"feature": "hour", "psi": None, "ks": None, "verdict": "drift"},
        ]
        frame = pl.DataFrame(rows, schema=schema_of(Drift))
        key = f"2018-05-{day:02}"
        made = build_manifest({key: frame}, "replace", Provenance("test", ""))
        lake.replace(SERVED.model.drift, {key: frame}, made, lake.open(SERVED.model.drift))


def service_tracer(home: Path) -> Tracer:
    return tracer("convergence-service", home / "traces", None, 1.0)


@contextmanager
def observed(lake: Lake, home: Path, redis: str) -> Iterator[int]:
    access = Access([], rate=1e6, burst=10**6)
    with (
        log_beside(home / "logs"),
        running(
            composed(SERVED, lake, access, home=home, redis=redis, within=1.0, tracer=service_tracer(home))
        ) as port,
    ):
        yield port


@pytest.fixture(scope="module")
def trained(world: tuple[Lake, Path]) -> str:
    """The run that made the model that is served, run with the instance's own configuration of logs."""
    lake, home = world
    logs = yaml.safe_load((ROOT / "dagster.yaml").read_text())["python_logs"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources.environments, "settings", lambda: Settings(home=home))
        with dg.DagsterInstance.ephemeral(settings={"python_logs": logs}) as instance:
            result = dg.materialize(
                [fraud_model],
                instance=instance,
                resources={"lake": LakeIOManager(root=lake.root, traces=str(home / "traces"))},
                partition_key="2018-05-06",
            )
    decided(lake, model(), VERSION)
    drifted(lake)
    return result.run_id


@pytest.fixture(scope="module")
def port(world: tuple[Lake, Path], trained: str) -> Iterator[int]:
    with redis_server() as redis:
        fill_online(world[0], OnlineStore(Redis.from_url(redis), FEATURES.online.layout))
        with observed(*world, redis) as port:
            yield port


def ask(port: int, path: str, body: Any = None, **headers: str) -> tuple[Any, dict[str, str]]:
    """Body and headers of an answer."""
    content = json.dumps(body).encode() if body is not None else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", content, {"Content-Type": "application/json"} | named
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text, told = answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    return (json.loads(text) if "json" in told["content-type"] else text), told


def until(found: Callable[[], Any], seconds: float = 15) -> Any:
    """What is found, once it is."""
    deadline = time.monotonic() + seconds
    while not (there := found()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return there


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


def spans(home: Path, trace_id: str) -> dict[str, dict[str, Any]]:
    """Those of a trace by name; what the service holds back is written first."""
    service_tracer(home).flush()
    return {s["name"]: s for s in lines(home / "traces") if s["context"]["trace_id"] == f"0x{trace_id}"}


def exemplars(port: int, family: str) -> list[dict[str, str]]:
    """The exemplars of a histogram."""
    text, told = ask(port, "/metrics", Accept=OPENMETRICS)
    assert told["content-type"].startswith("application/openmetrics-text")
    families = {found.name: found for found in text_string_to_metric_families(text)}
    return [sample.exemplar.labels for sample in families[family].samples if sample.exemplar]


def test_one_run_id_leads_from_a_score_to_the_run_that_made_its_model(
    world: tuple[Lake, Path], trained: str, port: int
) -> None:
    home = world[1]
    answer, headers = ask(port, SCORE, one())
    request_id = headers["x-request-id"]

    (asked,) = until(lambda: [line for line in lines(home / "logs") if line.get("request_id") == request_id])
    assert (asked["run_id"], asked["model_version"]) == (trained, answer["model_version"])
    of_request = until(lambda: spans(home, asked["trace_id"]))
    assert of_request["request"]["attributes"]["run_id"] == trained

    assert {"trace_id": asked["trace_id"], "run_id": trained} in exemplars(port, "convergence_model_seconds")
    text, _ = ask(port, "/metrics")
    assert f'convergence_model_serving{{model_version="{VERSION}",release="0",run_id="{trained}"}} 1.0' in text

    of_run = spans(home, str(trace_of(trained)))
    assert of_run["materialize fraud/fraud_model"]["attributes"]["run_id"] == trained
    (committed,) = [line for line in lines(home / "logs") if line.get("run_id") == trained and "step_key" in line]
    assert committed["trace_id"] == trace_of(trained)
    assert committed["message"].startswith("fraud/fraud_model: 1 rows")


def test_a_request_is_one_id_in_answer_log_trace_and_exemplar(world: tuple[Lake, Path], port: int) -> None:
    home = world[1]
    _, headers = ask(port, SCORE, one())
    request_id = headers["x-request-id"]
    assert {"trace_id": request_id, "request_id": request_id} in exemplars(port, "convergence_request_seconds")
    found = until(lambda: spans(home, request_id))
    root = found["request"]
    assert found.keys() == {"request", "features", "model"}
    assert {s["parent_id"] for s in found.values()} == {None, root["context"]["span_id"]}
    assert (root["attributes"]["route"], root["attributes"]["status"]) == (SCORE, 200)
    (line,) = until(lambda: [line for line in lines(home / "logs") if line.get("request_id") == request_id])
    assert line["trace_id"] == request_id


def test_the_trace_and_the_id_of_a_caller_go_on(world: tuple[Lake, Path], port: int) -> None:
    trace, given = f"{time.time_ns():032x}", f"till-{time.time_ns()}"
    _, headers = ask(port, SCORE, one(), traceparent=f"00-{trace}-00f067aa0ba902b7-01", X_Request_ID=given)
    assert headers["x-request-id"] == given
    root = until(lambda: spans(world[1], trace))["request"]
    assert (root["parent_id"], root["attributes"]["request_id"]) == ("0x00f067aa0ba902b7", given)
    assert {"trace_id": trace, "request_id": given} in exemplars(port, "convergence_request_seconds")


def test_only_a_caller_with_a_token_decides_whether_its_trace_is_kept(world: tuple[Lake, Path], tmp_path: Path) -> None:
    token = Token("till", "scorer", sha256(b"scorer-token-0001").digest())
    spans = tracer("convergence-service", tmp_path, None, 0.0)
    app = composed(
        SERVED, world[0], Access([token], rate=1e6, burst=10**6), home=tmp_path, redis=f"unix://{tmp_path}/none",
        follow=False, tracer=spans,
    )  # fmt: skip
    with running(app) as port:
        for n, given in enumerate(("", "Bearer wrong-token-00001", "Bearer scorer-token-0001"), 1):
            caller = {"traceparent": f"00-{n:032x}-00f067aa0ba902b7-01", "Authorization": given}
            with suppress(urllib.error.HTTPError):  # what is answered is not the question
                ask(port, SCORE, one(), **caller)
    spans.flush()
    assert {line["context"]["trace_id"] for line in lines(tmp_path)} == {f"0x{3:032x}"}


def test_no_log_line_and_no_span_holds_what_was_asked(world: tuple[Lake, Path], port: int) -> None:
    _, headers = ask(port, SCORE, one(customer_id=4_711_081_5, amount=1234.56))
    until(lambda: spans(world[1], headers["x-request-id"]))
    kept = "".join(f.read_text() for name in ("logs", "traces") for f in (world[1] / name).glob("*.jsonl"))
    assert "47110815" not in kept
    assert "1234.56" not in kept


def test_the_newest_verdicts_on_drift_are_exposed(port: int) -> None:
    text, _ = ask(port, "/metrics")
    assert 'convergence_drift_psi{feature="amount",window_days="7"} 0.7' in text
    assert 'convergence_drift_verdict{feature="amount",window_days="7"} 2.0' in text
    assert 'convergence_drift_verdict{feature="hour",window_days="7"} 2.0' in text
    assert 'convergence_drift_psi{feature="hour"' not in text
    told = re.search(r"^convergence_drift_judged_seconds (\S+)$", text, re.MULTILINE)
    assert told
    assert datetime.fromtimestamp(float(told[1]), UTC) == datetime(2018, 5, 6, tzinfo=UTC)


def exposed(port: int) -> set[str]:
    """Every name that a scrape may bring: of declared metrics, also where there is nothing to count yet."""
    parts = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}
    text, _ = ask(port, "/metrics")
    declared = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    return {name + part for name, kind in declared for part in parts[kind]}


def test_every_metric_of_alerts_and_dashboard_is_one_that_the_service_exposes(port: int) -> None:
    asked = [*(rule["expr"] for rule in alerts()), *asked_by_the_dashboard()]
    named = {name for expression in asked for name in re.findall(r"\bconvergence_\w+", expression)}
    assert len(named) > 10
    assert named - exposed(port) == set()


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Callable[..., Any]]:
    """A server with the shipped configuration, but this one target and many scrapes; asks its API, gives the data."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    shutil.copy(PROMETHEUS / "alerts.yml", folder)
    flags = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    flags += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]
    command = [prometheus_tool("prometheus"), *flags]

    def get(path: str, **query: str) -> Any:
        try:
            answer, _ = ask(port, f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
        except OSError:  # it has only begun
            return None
        return answer["data"]

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield get
        finally:
            server.kill()


def test_a_real_prometheus_finds_latency_exemplar_and_rules(port: int, tmp_path: Path) -> None:
    _, headers = ask(port, SCORE, one())
    request_id = headers["x-request-id"]
    count = f'convergence_request_seconds_count{{route="{SCORE}", status="200"}}'
    with prometheus(tmp_path, port) as get:
        (counted,) = until(lambda: (get("query", query=count) or {}).get("result"))
        assert float(counted["value"][1]) >= 1
        window = {"start": str(time.time() - 3600), "end": str(time.time() + 60)}
        found = until(lambda: get("query_exemplars", query="convergence_request_seconds_bucket", **window))
        labels = [exemplar["labels"] for series in found for exemplar in series["exemplars"]]
        assert {"trace_id": request_id, "request_id": request_id} in labels
        for expression in asked_by_the_dashboard():
            assert get("query", query=expression) is not None, expression
        rules = until(lambda: _judged(get("rules")))
    assert {rule["name"] for rule in rules} == {rule["alert"] for rule in alerts()}
    assert {rule["health"] for rule in rules} == {"ok"}


def _judged(data: Any) -> list[dict[str, Any]]:
    """All rules, once each was evaluated."""
    rules = [rule for group in (data or {"groups": []})["groups"] for rule in group["rules"]]
    return rules if all(rule["health"] != "unknown" for rule in rules) else []
