"""What `convergence chaos` prints and exits with."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import click
import pytest
from click.testing import CliRunner
from click.testing import Result as Said

from convergence.chaos.checker import Finding
from convergence.chaos.nemesis import case_of
from convergence.chaos.trial import Result
from convergence.cli.chaos import chaos
from convergence_assets.fraud.arrivals import TOPIC
from tests.convergence.chaos.evidence import history

GOOD = Result(0, "", sent=10, landed=10)
Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command with trials that only say what came of them."""

    @contextmanager
    def brokers(_folder: Path, _jars: Path, number: int) -> Iterator[Queue[Any]]:
        free: Queue[Any] = Queue()
        for n in range(number):
            free.put(n)
        yield free

    def invoke(*options: str, bad: Result | None = None, at: int = 0) -> Said:
        def trial(_topic: Any, _history: Any, case: str, seed: int, **_: Any) -> Result:
            return replace(bad if bad and seed == at else GOOD, case=case, seed=seed)

        command = sys.modules[chaos.callback.__module__]
        monkeypatch.setattr(command, "_brokers", brokers)
        monkeypatch.setattr(command, "tried_topic", lambda: replace(TOPIC, history=lambda _: (history().lazy(), "")))
        monkeypatch.setattr("convergence.services.kafka.install_kafka", lambda _: tmp_path)
        monkeypatch.setattr("convergence.chaos.trial.run_trial", trial)
        return CliRunner().invoke(chaos, [*options, "--folder", str(tmp_path)], standalone_mode=False)

    return invoke


def test_each_seed_is_a_line_with_its_case_and_all_is_well_with_zeros(run: Run) -> None:
    said = run("--runs", "4", "--seed", "20", "--parallel", "2")
    assert [line.split()[1:3] for line in said.output.splitlines()[:4]] == [
        [str(seed), case_of(seed)] for seed in range(20, 24)
    ]
    assert said.exit_code == 0


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, lost=1, findings=[Finding("lost", "0/7 is in no table")]),
        replace(GOOD, doubled=1),
        replace(GOOD, torn=1),
        replace(GOOD, failure="a lander ended with 1"),
    ],
    ids=["lost", "doubled", "torn", "failure"],
)
def test_one_bad_trial_of_many_is_exit_1_and_says_how_to_repeat_it(run: Run, bad: Result) -> None:
    said = run("--runs", "3", "--seed", "5", bad=bad, at=6)
    assert said.exit_code == 1
    assert f"convergence chaos --case {case_of(6)} --seed 6" in said.output
    assert [*(f.what for f in bad.findings), bad.failure][0] in said.output


def test_a_case_can_be_asked_for(run: Run) -> None:
    assert run("--case", "R-10", "--seed", "3").output.split()[:3] == ["seed", "3", "R-10"]


def test_a_case_that_there_is_not_is_refused_with_those_that_there_are(run: Run) -> None:
    said = run("--case", "R-99")
    assert isinstance(said.exception, click.BadParameter)
    assert "R-01" in said.exception.message


def test_the_report_is_a_json_object_a_trial(run: Run, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    run("--runs", "2", "--report", str(report), bad=replace(GOOD, torn=2), at=1)
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(row["seed"], row["torn"], row["passed"]) for row in rows] == [(0, 0, True), (1, 2, False)]
