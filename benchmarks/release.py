"""How long a promotion and a rollback take until they are served, and whether a request suffers meanwhile."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.data import roomiest
from benchmarks.measure import Row, Section
from benchmarks.score import LAST, SCORE, champion, decided, landed, requests, server
from convergence_assets.fraud.use_case import MODEL
from resources.configured import resources
from resources.environments import ROOT, Settings

RELEASABLE = MODEL.releasable

TITLE = "Promotion and rollback under load"
RATE = 100  # requests/s
OLD, NEW = LAST - timedelta(days=7), LAST


@dataclass
class Answers:
    """When each request was answered, by which model, and those that failed."""

    by: list[tuple[float, str]] = field(default_factory=list)
    failed: int = 0

    def first(self, version: str, since: float) -> float | None:
        """Seconds from then to the first answer of a model."""
        return next((at - since for at, by in self.by if by == version and at >= since), None)


def convergence(home: Path, *arguments: str) -> tuple[float, float]:
    """When the command was typed, and when it had ended."""
    began = time.perf_counter()
    environment = {**os.environ, "CONVERGENCE_HOME": str(home)}
    command = [sys.executable, "-m", "convergence.cli", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return began, time.perf_counter()


@contextmanager
def asking(port: int, bodies: list[str]) -> Iterator[Answers]:
    """Requests at a steady rate from one kept connection, until the end of the block."""
    answers, stopped = Answers(), threading.Event()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        number = 0
        while not stopped.wait(1 / RATE):
            connection.request("POST", SCORE, bodies[number % len(bodies)], {"Content-Type": "application/json"})
            answer = connection.getresponse()
            found = json.loads(answer.read())
            if answer.status == 200:
                answers.by.append((time.perf_counter(), found["model_version"]))
            else:
                answers.failed += 1
            number += 1

    thread = threading.Thread(target=client)
    thread.start()
    try:
        yield answers
    finally:
        stopped.set()
        thread.join()


def registrations(home: Path, number: int) -> list[float]:
    """Seconds to enter a version of a model into MLflow, the import and the first connection left out."""
    experiments = resources(Settings(home=home), in_clear=True)["experiments"].plain
    experiments.register("warm", "0", sha256="0" * 64, source="none")
    took = []
    for version in range(number):
        began = time.perf_counter()
        experiments.register("bench", str(version), sha256="0" * 64, source="none")
        took.append(time.perf_counter() - began)
    return took


def section(*, quick: bool) -> Section:
    """Rollbacks in turns with promotions, each as its command, while a server answers."""
    turns = 2 if quick else 5
    served: dict[str, list[float]] = {"promote": [], "rollback": []}
    ended: dict[str, list[float]] = {"promote": [], "rollback": []}
    with tempfile.TemporaryDirectory(dir=roomiest(), prefix="bench-") as scratch:
        lake = landed(home := Path(scratch), days=10)
        stack = champion(2_000)
        weights = {OLD: (0.5, 0.5), NEW: (0.4, 0.6)}
        decided(lake, {day: replace(stack, weights=np.array(w)) for day, w in weights.items()})
        convergence(home, "promote", RELEASABLE.name, "--version", f"{OLD}.bench")
        with server(home) as port, asking(port, requests(lake)) as answers:
            for _ in range(turns):
                for action, version, more in (
                    ("promote", NEW, ("--version", f"{NEW}.bench")),
                    ("rollback", OLD, ("--reason", "measured")),
                ):
                    began, end = convergence(home, action, RELEASABLE.name, *more)
                    time.sleep(1)
                    first = answers.first(f"{version}.bench", began)
                    assert first is not None, f"{version} was never served after {action}"
                    served[action].append(first)
                    ended[action].append(end - began)
        took = registrations(home, 5 if quick else 20)
    rows = [
        Row(f"{action}, from the command to the first answer", _shown(served[action]), "", "", "", "≤ 5 s",
            max(served[action]) <= 5)
        for action in served
    ]  # fmt: skip
    rows += [Row(f"{action}, the whole command, MLflow told", _shown(ended[action]), "", "", "") for action in ended]
    rows.append(
        Row("requests that failed meanwhile", f"{answers.failed} of {len(answers.by) + answers.failed}", "", "", "",
            "0", answers.failed == 0)
    )  # fmt: skip
    rows.append(Row("registration of a version in MLflow", _shown(took), "", "", "", "≤ 1 s", max(took) <= 1))
    return Section(
        TITLE,
        f"A server as above answers {RATE} requests/s over one connection, while `convergence promote` and "
        "`convergence rollback` are typed in turns, each a process of its own. Median and slowest.",
        rows,
    )


def _shown(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s, {max(seconds):.2f} s"
