"""The service as a server of its own in a thread, over a small lake and a real Redis, asked by the plainest client."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import uvicorn

from convergence.cli.serve import composed
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import WHOLE, Lake
from convergence.models.onnx_graph import INPUT, Graph
from convergence.serving.access import Access, Token
from convergence.serving.heads import Bounded
from convergence_assets.fraud.use_case import SERVED

PATIENT = 1.0  # seconds for the store where a busy machine must not decide


def model(features: tuple[str, ...] = tuple(SERVED.model.inputs), scale: float = 1e-7) -> bytes:
    """sigmoid(scale * sum of the features), a missing one counting as 0: every feature moves the score."""
    graph = Graph()
    filled = graph.add("Where", graph.add("IsNaN", INPUT), graph.constant(np.float32(0)), INPUT)
    weights = graph.constant(np.full((len(features), 1), scale))
    margin = graph.add("MatMul", graph.add("Cast", filled, to=11), weights)
    return graph.to_bytes({"probability": graph.add("Sigmoid", margin)}, features, "probability")


def sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def decided(lake: Lake, blob: bytes, version: str = "2018-05-06-test") -> None:
    """Put a champion into the table of decisions."""
    row = {"valid_from": ["2018-05-06"], "decided_at": ["2018-05-06"], "model_version": [version], "onnx": [blob]}
    frame = pl.DataFrame(row | {"sha256": [sha256(blob)]})
    made = build_manifest({WHOLE: frame}, "replace", Provenance("test", ""))
    lake.replace(SERVED.model.decisions, {WHOLE: frame}, made, lake.open(SERVED.model.decisions))


@contextmanager
def running(app: Any, http: type[Bounded] = Bounded) -> Iterator[int]:
    """The port of a server of this app."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, http=http, log_level="critical", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def service(
    lake: Lake, home: Path, redis: str, *tokens: Token, rate: float = 1e6, follow: bool = False
) -> Iterator[int]:
    access = Access(tokens, rate=rate, burst=int(rate))
    with running(composed(SERVED, lake, access, home=home, redis=redis, follow=follow, within=PATIENT)) as port:
        yield port


def ask(
    port: int, method: str, path: str, body: Any = None, token: str | None = None, raw: bytes | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Status, body (JSON where it is), and headers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection.request(
        method, path, raw if raw is not None else json.dumps(body) if body is not None else None, headers
    )
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    told = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, json.loads(text) if "json" in told.get("content-type", "") else text, told
