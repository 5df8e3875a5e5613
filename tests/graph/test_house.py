"""The repository from the outside: what lies at its top, how long its files are, and what they must not name."""

import re
from pathlib import Path

import pytest

from tests.graph.house import ROOT, listed, sources, tracked

TOP = {
    *(".ci", ".gitignore", "ARCHITECTURE.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("asset_checks", "benchmarks", "convergence", "convergence_assets", "resources", "sensors", "tests", "docs"),
    *("contracts", "dbt", "deploy"),
    *("dagster.yaml", "workspace.yaml", "pyproject.toml"),
    *(
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-bench.lock",
        "requirements-companions.lock",
        "requirements-uv.lock",
    ),
}
BINARY = {".png", ".jpg", ".gif", ".parquet", ".ico"}


def texts() -> dict[str, str]:
    return {name: (ROOT / name).read_text() for name in tracked() if Path(name).suffix not in BINARY}


def test_the_top_level_holds_what_it_should_and_nothing_else() -> None:
    assert {name.split("/")[0] for name in listed("--cached")} == TOP


def test_the_root_of_the_graph_is_short() -> None:
    assert len((ROOT / "convergence_assets" / "definitions.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("module", sorted(sources()))
def test_no_source_file_is_too_long_to_be_read(module: str) -> None:
    assert len(sources()[module].read_text().splitlines()) <= 300


@pytest.mark.parametrize("module", sorted(sources()))
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert sources()[module].read_text().startswith('"""')


def test_no_file_holds_the_path_of_a_machine() -> None:
    # Put together here, so that this file does not hold one itself.
    homes = re.compile("(?<![\\w.}/-])/(?:" + "|".join(("root", "work", "home")) + r")(?:/|\b(?![\w-]))")
    named = {name: homes.findall(text) for name, text in texts().items() if homes.search(text)}
    assert named == {}


def test_no_file_names_a_package_index() -> None:
    words = ("--index" + "-url", "--extra" + "-index-url", "artifact" + "ory", "nex" + "us.", "dev" + "pi")
    hosts = re.compile(r"https?://[^\s\"']*/" + r"simple\b")
    assert [n for n, text in texts().items() if hosts.search(text) or any(word in text for word in words)] == []


@pytest.mark.parametrize(
    "lock", ["requirements.lock", "requirements-dev.lock", "requirements-bench.lock", "requirements-companions.lock"]
)
def test_every_locked_package_has_its_hash_and_no_index_is_named(lock: str) -> None:
    text = (ROOT / lock).read_text()
    packages = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert len(packages) > 30
    assert [p.split()[0] for p in packages if not re.match(r"[\w.\-\[\],]+==[^\s]+", p)] == []
    assert [p.split()[0] for p in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}", p)] == []
    assert not re.search(r"https?://|index-url|find-links|trusted-host", text)
