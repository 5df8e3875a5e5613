"""What a score costs over HTTP: features read and computed, trees and a network run, beside an empty route."""

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.data import roomiest
from benchmarks.measure import Row, Section
from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.lander import land
from convergence.arrivals.replay import replay
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.models import boosting, network, scaling
from convergence.models.calibration import Calibration
from convergence.models.ensemble import Ensemble
from convergence.models.stored import digest
from convergence_assets.fraud.arrivals import TOPIC
from convergence_assets.fraud.datasets import transaction_rows
from convergence_assets.fraud.online import fill_online
from convergence_assets.fraud.requests import FEATURES
from convergence_assets.fraud.use_case import MODEL, SERVED
from resources.environments import ROOT, Settings, settings

RELEASABLE = MODEL.releasable

TITLE = "Scores over HTTP"
RATE, CLIENTS = 200, 16
TRACED = Settings.model_fields["traced"].default
LAST = date(2018, 8, 31)
SCORE, EMPTY = "/v1/fraud/score", "/empty"


def landed(home: Path, days: int) -> Lake:
    """A lake with the newest days of the fraud use case."""
    lake = Lake(str(home / "lake"))
    list(replay(TOPIC, settings().published_data, home / "inbox", LAST - timedelta(days=days - 1), LAST))
    land(lake, TOPIC, DropFolder(home / "inbox"), Provenance("bench", ""))
    return lake


def decided(lake: Lake, models: Mapping[date, Ensemble]) -> None:
    """Models by as-of date, as their table and that of the gate's decisions hold them: all have passed."""
    graphs = {day: model.to_onnx(SERVED.model.inputs) for day, model in models.items()}
    for table in (RELEASABLE.models, RELEASABLE.decisions):
        days = {
            str(day): pl.DataFrame(
                {
                    **dict.fromkeys(("event_date", "valid_from", "decided_at"), day),
                    **dict.fromkeys(("model_version", "challenger_version"), f"{day}.bench"),
                    **{"onnx": graph, "sha256": digest(graph), "model": _trees(models[day]), "promoted": True},
                    "reason": "",
                }
            )
            for day, graph in graphs.items()
        }
        lake.replace(table, days, build_manifest(days, "replace", Provenance("bench", "")), None)


def _trees(model: Ensemble) -> str:
    trees = model.members["xgboost"]
    assert isinstance(trees, boosting.Trees)
    return trees.model


def champion(rows: int = 20_000) -> Ensemble:
    """300 trees of depth 6 and a network of 64 and 32, on made-up rows: the time of a score needs no real ones."""
    random = np.random.default_rng(0)
    values = random.lognormal(size=(rows, len(SERVED.model.inputs))).astype(np.float32)
    label = values[:, 0] * values[:, 1] + random.normal(size=rows) > 3
    frame = pl.DataFrame(values, schema=list(SERVED.model.inputs))
    trees = boosting.fit(frame, pl.Series(label), rounds=300, params={"max_depth": 6}, nthread=2)
    layers = network.fit(
        values, label, np.ones(rows), scaling.fit(values), newest=np.arange(rows) > 0.8 * rows, epochs=2, nthread=2
    )
    platt = Calibration("platt", 0.0, np.ones(1), np.empty(0))
    return Ensemble({"xgboost": boosting.Trees(trees), "network": layers}, np.array([0.5, 0.5]), platt)


def serve(home: str, port: int, traced: float) -> None:
    """A server with one worker, as `convergence serve` starts it, and an empty route with the same body.

    `traced`: share of requests.
    """
    import uvicorn
    from fastapi import Response
    from fastapi.responses import JSONResponse

    from convergence.cli.serve import composed
    from convergence.features.online_store import OnlineStore
    from convergence.observability.logs import log_beside
    from convergence.observability.traces import tracer
    from convergence.services.redis import connect
    from convergence.serving.access import Access
    from convergence.serving.heads import Bounded

    lake = Lake(f"{home}/lake")
    fill_online(lake, OnlineStore(connect(None, Path(home)), FEATURES.online.layout))
    spans = tracer("bench", Path(home) / "traces", None, traced)
    app = composed(SERVED, lake, Access([], rate=1e9, burst=10**9), home=Path(home), redis=None, tracer=spans)
    score: Any = next(route for route in app.routes if getattr(route, "path", "") == SCORE)

    def empty(body: Any) -> Response:
        return JSONResponse({})

    empty.__annotations__["body"] = score.endpoint.__annotations__["body"]
    app.router.add_api_route(EMPTY, empty, methods=["POST"], route_class_override=type(score))
    with log_beside(Path(home) / "logs"):
        uvicorn.run(app, port=port, http=Bounded, log_level="critical", access_log=False)


@contextmanager
def server(home: Path, traced: float = TRACED) -> Iterator[int]:
    """The port of a server in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = f"from benchmarks.score import serve; serve({str(home)!r}, {port}, {traced})"
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT) as process:
        try:
            while not _listening(port):
                assert process.poll() is None, "the server did not start"
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def latencies(port: int, path: str, bodies: list[str], rate: float, seconds: float) -> tuple[np.ndarray, float]:
    """Seconds from when each request was due until its answer, over kept connections, and the share on defaults."""
    due = time.perf_counter() + 0.05 + np.arange(int(rate * seconds)) / rate
    took, degraded = np.full(len(due), np.inf), np.zeros(len(due), np.bool_)
    numbers, lock = iter(range(len(due))), threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            time.sleep(max(0.0, due[number] - time.perf_counter()))
            body = bodies[number % len(bodies)]
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text[:300]
            degraded[number] = b'"degraded":true' in text
            took[number] = time.perf_counter() - due[number]

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return took, float(degraded.mean())


def requests(lake: Lake, most: int = 2_000, *, reasons: bool = False) -> list[str]:
    """Transactions of the last day, one a request."""
    rows = transaction_rows(lake.scan(TOPIC.table, [str(LAST)])).collect().sample(most, seed=0)
    times = pl.col("event_time").dt.strftime("%+")
    columns = ("transaction_id", "event_time", "customer_id", "terminal_id", "amount")
    return [
        json.dumps({"rows": [row], "reasons": reasons}) for row in rows.select(columns).with_columns(times).to_dicts()
    ]


def section(*, quick: bool) -> Section:
    """Latency at a steady rate in turns with an empty route, then the highest rate that is still answered in time."""
    with tempfile.TemporaryDirectory(dir=roomiest(), prefix="bench-") as scratch:
        lake = landed(home := Path(scratch), days=40)
        decided(lake, {LAST: champion()})
        bodies, turns, seconds = requests(lake), 2 if quick else 6, 3.0 if quick else 10.0
        explained = requests(lake, reasons=True)
        with server(home) as port:
            for warm in (bodies, explained):
                latencies(port, SCORE, warm, RATE, 3)
            found: dict[str, list[np.ndarray]] = {"score": [], "empty": [], "reasons": []}
            asked = {"score": (SCORE, bodies), "empty": (EMPTY, bodies), "reasons": (SCORE, explained)}
            shares: list[float] = []
            for _ in range(turns):
                for what, times in found.items():
                    took, share = latencies(port, *asked[what], RATE, seconds)
                    times.append(took)
                    shares += [share] if what == "score" else []
            highest, rate = 0.0, float(RATE)
            while np.quantile(latencies(port, SCORE, bodies, rate, seconds)[0], 0.99) < 0.1:
                highest, rate = rate, rate * 1.2
        with server(home, 0) as none, server(home) as some, server(home, 1) as every:
            medians: dict[int, list[float]] = {none: [], some: [], every: []}
            for _ in range(turns):
                for port, times in medians.items():
                    times.append(float(np.median(latencies(port, SCORE, bodies, RATE, seconds)[0])))
    traced = {port: np.divide(medians[port], medians[none]) for port in (some, every)}
    costs = [f"{np.median(r):.2f} ({r.min():.2f}-{r.max():.2f})" for r in traced.values()]
    ours, empty, reasoned = (np.concatenate(found[what]) * 1e3 for what in ("score", "empty", "reasons"))
    ratio, spread = _beside(found["score"], found["empty"])
    slow = bool(np.quantile(ours, 0.99) > 10)
    rows = [
        Row(f"score at {RATE} requests/s", _shown(ours), _shown(empty), spread, "", "p99 ≤ 10 ms", not slow),
        Row("p99 beside an empty route", "", "", spread, "", "≤ 3", bool(ratio <= 3)),
        Row(
            f"with reasons, at {RATE} requests/s",
            _shown(reasoned),
            _shown(empty),
            _beside(found["reasons"], found["empty"])[1],
            "",
        ),
        Row("answered on defaults at that rate", f"{np.mean(shares):.2%}", "", "", ""),
        Row(f"median with {TRACED:.0%} of requests traced, beside none", "", "", costs[0], ""),
        Row("median with all requests traced, beside none", "", "", costs[1], ""),
        Row("highest rate with p99 < 100 ms", f"{highest:.0f} requests/s", "", "", ""),
    ]
    return Section(
        TITLE,
        f"One uvicorn worker in a process of its own, the embedded Redis, 40 days of the fraud use case. Each request "
        "is one transaction: its 35 features are computed from the states of its customer and terminal, scored by 300 "
        f"trees of depth 6 and a network in ONNX Runtime, and logged; {TRACED:.0%} of requests are traced. Features "
        "that take longer than 20 ms are answered by defaults. Reasons are the exact SHAP values of the trees. "
        f"Reference: a route of the same server that reads the same body and does nothing. Client: `http.client`, "
        f"{CLIENTS} kept connections, latency counted from when a request was due, so a server that falls behind is "
        "charged for it. Rates rise by 20 %; server, client and Redis share the machine.",
        rows,
    )


def _beside(ours: list[np.ndarray], theirs: list[np.ndarray]) -> tuple[float, str]:
    """The ratio of the 99th percentiles over all turns, and in words with its span over the turns."""
    turns = [np.quantile(a, 0.99) / np.quantile(b, 0.99) for a, b in zip(ours, theirs, strict=True)]
    ratio = float(np.quantile(np.concatenate(ours), 0.99) / np.quantile(np.concatenate(theirs), 0.99))
    return ratio, f"{ratio:.2f} ({min(turns):.2f}-{max(turns):.2f})"


def _shown(milliseconds: np.ndarray) -> str:
    return f"p50 {np.median(milliseconds):.2f} ms, p99 {np.quantile(milliseconds, 0.99):.2f} ms"
