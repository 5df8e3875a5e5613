"""What use cases declare: each says its own, nobody else names it, and commands that need no graph load none."""

import ast
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from convergence.errors import DeclarationError
from convergence.use_case import UseCase
from convergence_assets import topics, use_cases
from tests.graph.house import ROOT, sources

NAMES = [one.name for one in use_cases()]
# What may name one all the same, and why.
EXCEPTIONS = {
    "convergence/arrivals/simulators/": "simulators are each of one use case, and named after it",
}
WITHOUT_GRAPH = {
    *("manifest", "audit", "rejected", "land", "replay", "release", "promote", "rollback"),
    *("services", "index", "search", "features"),
}


def code_of(path: Path) -> str:
    """A module's code without docstrings, comments, and examples that help texts and errors give."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = None
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "e.g. " in node.value:
            node.value = ""
        elif isinstance(node, ast.keyword) and node.arg == "examples":
            node.value = ast.Constant(None)
    return ast.unparse(tree)


def shared() -> list[str]:
    """Files of the platform that are of no use case's folder."""
    files = (path.relative_to(ROOT).as_posix() for path in sources().values())
    own = tuple(f"convergence_assets/{name}/" for name in NAMES)
    return sorted(file for file in files if not file.startswith((*own, *EXCEPTIONS)))


@pytest.mark.parametrize("file", shared())
def test_no_shared_file_names_a_use_case(file: str) -> None:
    named = re.findall(rf"\b({'|'.join(NAMES)})\b", code_of(ROOT / file))
    assert named == []


def test_every_folder_of_a_use_case_is_found_by_itself() -> None:
    folders = [path.parent.name for path in (ROOT / "convergence_assets").glob("[!_]*/__init__.py")]
    assert sorted(folders) == NAMES


@pytest.mark.parametrize("use_case", use_cases(), ids=NAMES)
def test_topics_lie_within_the_calendar(use_case: UseCase) -> None:
    for topic in use_case.topics:
        assert use_case.calendar is not None
        first, last = use_case.calendar
        assert first <= topic.first_day
        assert last is None or topic.last_day <= last


def test_a_table_of_another_use_case_is_refused_by_name() -> None:
    with pytest.raises(DeclarationError, match="use case one declares two/scores: its tables begin with one/"):
        UseCase(name="one", owner="team:one", fresh={"two/scores": timedelta(hours=1)})


def test_topics_are_found_by_name() -> None:
    assert all(topic.name == name for name, topic in topics().items())
    assert len(topics()) == sum(len(one.topics) for one in use_cases())


def test_commands_that_need_no_graph_load_none() -> None:
    program = f"""
import resource, sys, tempfile
from convergence.cli import cli, lake, snapshots, topic_named
from convergence.cli.release import releasable, releases
from convergence.cli.search import searched
from convergence.cli.serve import served
import convergence_assets
assert {WITHOUT_GRAPH} <= set(cli.commands)
for one in convergence_assets.use_cases():
    [topic_named(topic.name) for topic in one.topics], [releasable(model.name) for model in one.models]
    [served(service.name) for service in one.served], [snapshots(searched(s.name).name) for s in one.searched]
list(releases().log.entries(None))
print(*sys.modules)
print(resource.getrusage(resource.RUSAGE_SELF).ru_utime + resource.getrusage(resource.RUSAGE_SELF).ru_stime)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules, seconds = done.stdout.splitlines()
    assert {"dagster", "dbt", "mlflow", "pandas"}.isdisjoint(modules.split())
    assert float(seconds) < 3
