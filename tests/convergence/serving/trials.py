"""A running service with a real Redis and a real release log, and challengers for it, good and bad."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from redis import Redis

from convergence.features.online_store import OnlineStore
from convergence.lake.tables import Lake
from convergence.models.onnx_graph import INPUT, Graph
from convergence.models.releasable import Candidate, Span
from convergence.models.release_log import newest, promote, start_canary
from convergence.models.releases import Release, publish
from convergence.serving.served_log import exposures_of
from convergence.versions.audit import AuditLog
from convergence_assets.fraud.online import fill_online
from convergence_assets.fraud.requests import FEATURES
from convergence_assets.fraud.use_case import MODEL, SERVED
from tests.convergence.redis_servers import redis_server
from tests.convergence.serving.service import ask, model, service, sha256
from tests.convergence.serving.test_service import SCORE, one
from tests.convergence_assets.fraud.streams import CUT, history, landed

RELEASABLE = MODEL.releasable

NAME = RELEASABLE.name
INPUTS = tuple(SERVED.model.inputs)


def graph(output: Callable[[Graph, str], str]) -> bytes:
    """A model of all inputs: `output(graph, sum)` is its probability; the sum is 0 for a row without values."""
    made = Graph()
    filled = made.add("Where", made.add("IsNaN", INPUT), made.constant(np.float32(0)), INPUT)
    total = made.add("MatMul", made.add("Cast", filled, to=11), made.constant(np.ones((len(INPUTS), 1))))
    return made.to_bytes({"probability": output(made, total)}, INPUTS, "probability")


def failing(made: Graph, total: str) -> str:
    """Looks beyond the end of a table, as soon as there are values."""
    flat = made.add("Cast", made.add("Sign", total), to=7)
    return made.add("Gather", made.constant(np.array([0.5])), flat)


def nan(made: Graph, total: str) -> str:
    there = made.add("Greater", total, made.constant(np.float64(0)))
    return made.add("Where", there, made.constant(np.float64("nan")), made.constant(np.full((1, 1), 0.5)))


def shifted(made: Graph, total: str) -> str:
    there = made.add("Add", made.add("Sign", total), made.add("Mul", total, made.constant(np.float64(1e-7))))
    return made.add("Sigmoid", there)


def slow(made: Graph, total: str) -> str:
    """Multiplies 1,000 x 1,000 numbers that nobody can compute ahead: 2 GFLOP, above 10 ms on any core."""
    zero = made.add("Mul", total, made.constant(np.float64(0)))
    numbers = made.add("Add", made.constant(np.ones((1000, 1000))), made.add("ReduceSum", zero, keepdims=0))
    none = made.add("Mul", made.add("ReduceSum", made.add("MatMul", numbers, numbers), keepdims=0),
                    made.constant(np.float64(0)))  # fmt: skip
    score = made.add("Sigmoid", made.add("Mul", total, made.constant(np.float64(1e-7))))
    return made.add("Add", score, none)


def candidate(version: str, blob: bytes, trees: str | None = None) -> Candidate:
    row = pl.DataFrame({"model_version": [version], "onnx": [blob], "sha256": [sha256(blob)]})
    row = row.with_columns(model=pl.lit(trees)) if trees else row
    return Candidate(row, RELEASABLE.view, RELEASABLE.fingerprint, RELEASABLE.namespace, gate="passes", passed=True)


@dataclass
class House:
    """A running service and what it talks to."""

    port: int
    lake: Lake
    home: Path
    redis: Redis
    redis_url: str

    @property
    def log(self) -> AuditLog:
        return AuditLog(self.lake.store)

    def tries(self, version: str, blob: bytes, share: float = 0.05, trees: str | None = None) -> Release:
        """Start a canary, and wait until the server knows."""
        release = start_canary(self.log, NAME, candidate(version, blob, trees), share, actor="anna", reason="try")
        return self.told(release)

    def promotes(self, version: str, blob: bytes, trees: str | None = None) -> Release:
        """Change the champion, and wait until the server knows."""
        span = Span(CUT.date(), CUT.date())
        return self.told(promote(self.log, NAME, candidate(version, blob, trees), span, actor="anna", reason="first"))

    def told(self, release: Release) -> Release:
        publish(self.redis, release)
        self.until(lambda: self.health()["release"] == release.number)
        return release

    @property
    def release(self) -> Release:
        found = newest(self.log, NAME)
        assert found is not None
        return found

    def health(self) -> dict[str, Any]:
        return ask(self.port, "GET", "/health")[1]

    def metrics(self) -> str:
        return ask(self.port, "GET", "/metrics")[1]

    def ask_many(self, most: int, name: str) -> Iterator[dict[str, Any]]:
        """Answers to requests over one connection; each must be one."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        for number in range(most):
            headers = {"Content-Type": "application/json", "X-Request-ID": f"{name}-{number}"}
            body = one(transaction_id=10**9 + number, customer_id=number % 40, amount=1.0 + number % 97)
            connection.request("POST", SCORE, json.dumps(body), headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            assert answer.status == 200, told
            (score,) = told["scores"]
            assert 0 <= score["score"] <= 1
            yield told
        connection.close()

    def exposures(self, release: Release) -> list[dict[str, Any]]:
        files = exposures_of(self.home, NAME).glob("*.jsonl")
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["experiment"] == f"{NAME}/{release.number}"]

    @staticmethod
    def until(done: Any) -> None:
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def serving_house(home: Path) -> Iterator[House]:
    """A service whose champion is v0."""
    lake = Lake(str(home / "lake"))
    landed(lake, home / "inbox", "history", history())
    with redis_server() as url:
        redis = Redis.from_url(url)
        fill_online(lake, OnlineStore(redis, FEATURES.online.layout))
        with service(lake, home, url) as port:
            house = House(port, lake, home, redis, url)
            house.promotes("v0", model())
            yield house
