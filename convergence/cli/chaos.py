"""`convergence chaos`: trials of exactly-once, each repeatable by its seed."""

import json
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

import click

from convergence.cli.files import FileToWrite, FolderToWrite
from convergence.errors import SettingsError

if TYPE_CHECKING:
    from convergence.arrivals.topics import Topic
    from convergence.chaos.trial import Result
    from convergence.services.kafka import KafkaBroker

_FIGURES = ("sent", "landed", "lost", "doubled", "torn")


@click.command()
@click.option("--runs", type=click.IntRange(1), default=1, show_default=True, help="Number of trials.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the first; then one more.")
@click.option("--case", help="Only this case, e.g. R-01; default: the seed draws it.")
@click.option("--parallel", type=click.IntRange(1, 16), default=1, show_default=True, help="Trials at once.")
@click.option("--folder", type=FolderToWrite(), help="Where trials work; failed ones stay. Default: a new one.")
@click.option("--report", type=FileToWrite(), help="Write a JSON line per trial there.")
def chaos(*, runs: int, seed: int, case: str | None, parallel: int, folder: Path | None, report: Path | None) -> None:
    """Prove that each message lands exactly once: random load, killed processes, and a checker that trusts nobody."""
    from convergence.chaos.nemesis import CASES, case_of
    from convergence.chaos.trial import run_trial
    from convergence.services.kafka import install_kafka
    from resources.environments import settings

    if case is not None and case not in CASES:
        raise click.BadParameter(f"no case {case!r}; there are: {', '.join(CASES)}", param_hint="--case")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended
    jars = install_kafka(settings().home.resolve() / "services")
    topic = tried_topic()
    work = (folder or Path(tempfile.mkdtemp(prefix="convergence-chaos-"))).resolve()
    history = topic.history(None)[0].sort(topic.clock, maintain_order=True).collect()  # simulated, whoever runs it
    with _brokers(work, jars, parallel) as free, _workers(parallel) as pool:

        def trial(number: int) -> "Result":
            which, broker = case or case_of(number), free.get()
            where = work / f"{which}-{number}"
            try:
                return run_trial(topic, history, which, number, broker=broker, folder=where)
            finally:
                free.put(broker)

        results: list[Result] = []
        for result in pool.map(trial, range(seed, seed + runs)):
            results.append(result)
            _tell(result, work)
            if report:
                report.parent.mkdir(parents=True, exist_ok=True)
                with report.open("a") as file:
                    file.write(json.dumps({**asdict(result), "passed": result.passed}) + "\n")
    _summary(results)
    passed = all(result.passed for result in results)
    if passed and folder is None:
        shutil.rmtree(work)
    sys.exit(0 if passed else 1)


def tried_topic() -> "Topic":
    """The topic that a use case declares to be tried. Raises SettingsError where none does."""
    from convergence_assets import use_cases

    for one in use_cases():
        if one.tried:
            return one.tried
    raise SettingsError("no use case declares a topic to be tried: give one `tried` in its use_case.py")


@contextmanager
def _workers(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that, when they are interrupted, end the trials that they are at and begin no other."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _brokers(folder: Path, jars: Path, number: int) -> "Iterator[Queue[KafkaBroker]]":
    """Brokers for so many trials at once: each may be killed by the one that has it."""
    from convergence.services.kafka import KafkaBroker

    free: Queue[KafkaBroker] = Queue()
    with ExitStack() as started:
        for n in range(number):
            broker = KafkaBroker(folder / f"broker-{n}", jars)
            started.callback(broker.kill)
            broker.start()
            free.put(broker)
        yield free


def _tell(result: "Result", folder: Path) -> None:
    figures = "  ".join(f"{name} {getattr(result, name):>5}" for name in _FIGURES)
    click.echo(f"seed {result.seed:>5}  {result.case:<6} {figures}  {result.seconds:5.1f} s")
    if result.passed:
        return
    for line in [*result.told, result.failure, *(f"{f.kind}: {f.what}" for f in result.findings[:10])]:
        click.echo(f"    {line}")
    again = f"convergence chaos --case {result.case} --seed {result.seed}"
    click.echo(f"    Kept: {folder / f'{result.case}-{result.seed}'}. Repeat: {again}")


def _summary(results: "list[Result]") -> None:
    from rich.console import Console
    from rich.table import Table

    from convergence.chaos.nemesis import CASES

    cases: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        cases[result.case].append(result)
    table = Table("case", "what goes wrong", "trials", "failed", *_FIGURES, "seconds", box=None)

    def row(name: str, title: str, mine: "list[Result]") -> None:
        sums = [f"{sum(getattr(result, figure) for result in mine):,}" for figure in _FIGURES]
        failed = str(sum(not result.passed for result in mine))
        table.add_row(name, title, str(len(mine)), failed, *sums, f"{sum(r.seconds for r in mine):.0f}")

    for name in sorted(cases):
        row(name, CASES[name].title, cases[name])
    row("all", "", results)
    console = Console()
    console.width = max(console.width, 116)
    console.print(table)
