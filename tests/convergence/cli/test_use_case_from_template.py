"""A new use case, from one command to a full demo, in a copy of the repository."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, with the use case `claim_triage` made in it."""
    copy = tmp_path_factory.mktemp("checkout")
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in listed.split():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    run(copy, "convergence.cli", "new", "use-case", "claim_triage")
    return copy


def run(copy: Path, module: str, *arguments: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy), "CONVERGENCE_HOME": str(copy / "home"), "COLUMNS": "160"}
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_its_own_tests_are_green_at_once(checkout: Path) -> None:
    assert "5 passed" in run(checkout, "pytest", "tests/convergence_assets/claim_triage", "-p", "no:cacheprovider")


def test_it_is_in_the_graph_with_no_other_edit(checkout: Path) -> None:
    (checkout / "listing.py").write_text(
        "import dagster as dg\n"
        "from convergence_assets.definitions import defs\n"
        "dg.Definitions.validate_loadable(defs)\n"
        "print([s.key.to_user_string() for s in defs.resolve_all_asset_specs()])\n"
    )
    listing = run(checkout, "listing")
    assert "claim_triage/raw_claim_triage_events" in listing
    assert "claim_triage/claim_triage_scores" in listing


def test_its_code_is_clean(checkout: Path) -> None:
    made = ("convergence_assets/claim_triage", "tests/convergence_assets/claim_triage")
    run(checkout, "ruff", "check", *made)
    run(checkout, "ruff", "format", "--check", *made)


def test_the_demo_builds_it_and_a_second_demo_does_nothing(checkout: Path) -> None:
    first = run(checkout, "convergence.cli", "demo", "--use-case", "claim_triage")
    assert "42/42" in first
    assert "SIMULATED HERE" in first
    assert "failed" not in first

    second = run(checkout, "convergence.cli", "demo", "--use-case", "claim_triage")
    assert second.count("up to date") == 12

    printed = run(
        checkout, "convergence.cli", "manifest", "claim_triage/claim_triage_events", "--partition", "2024-01-03"
    )
    manifest = json.loads(printed)
    assert manifest["rows"] == 96
    assert list(manifest["inputs"]["claim_triage/raw_claim_triage_events"]["partitions"]) == ["2024-01-03"]


def test_a_demo_that_was_killed_is_finished_by_the_next(checkout: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "CONVERGENCE_HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-m", "convergence.cli", "demo", "--use-case", "claim_triage"]
    killed = subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
    committed = tmp_path / "lake" / "claim_triage" / "claim_triage_features" / "_delta_log" / f"{1:020}.json"
    while not committed.exists() and killed.poll() is None:
        time.sleep(0.001)
    killed.kill()
    killed.wait()

    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("42/42") == 5
    assert done.stdout.count("14/14") == 4


def test_a_name_that_is_taken_or_no_name_is_refused(checkout: Path) -> None:
    assert "already there" in run(checkout, "convergence.cli", "new", "use-case", "claim_triage", code=2)
    assert "lower-case words" in run(checkout, "convergence.cli", "new", "use-case", "Claim-Triage", code=2)
