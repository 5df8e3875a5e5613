import subprocess
from pathlib import Path
from typing import Any

import pytest

from convergence.contracts.history import at, broken_promises
from convergence.contracts.standard import document, dump
from tests.convergence.contracts.promises import PAYMENTS
from tests.convergence.contracts.test_changes import at as versioned
from tests.convergence.contracts.test_changes import edited, without

MADE = document("shop", [PAYMENTS])
SMALLER = without("amount", MADE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path / "shop.yaml"


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def commit(file: Path, made: dict[str, Any]) -> None:
    file.write_text(dump(made))
    git(file.parent, "add", ".")
    git(file.parent, "commit", "--quiet", "--allow-empty", "--message", "x")


def test_a_removal_is_found_however_many_commits_ago_it_was_made(file: Path):
    for made in (MADE, SMALLER, {**SMALLER, "description": {"purpose": "x"}}):
        commit(file, made)

    ((_, change),) = broken_promises(file, SMALLER)

    assert (change.where, change.what) == ("shop/payments.amount", "removed")


def deprecated(made: dict[str, Any]) -> dict[str, Any]:
    announced = edited("payments", "amount", customProperties=[{"property": "deprecated", "value": {"since": "1.1.0"}}])
    return {**made, "schema": announced["schema"][:1]}


@pytest.mark.parametrize(
    ("between", "forgiven"),
    [
        pytest.param([deprecated(versioned("1.1.0", MADE))], True, id="announced-in-a-version-between"),
        pytest.param([deprecated(versioned("1.1.0", MADE)), MADE], False, id="announced-and-then-taken-back"),
        pytest.param([deprecated(versioned("1.1.0", MADE, "draft"))], False, id="announced-in-a-draft-alone"),
        pytest.param([SMALLER, versioned("1.1.0", MADE)], False, id="put-back-and-not-announced"),
    ],
)
def test_a_column_goes_if_the_newest_version_that_had_it_announced_it(
    file: Path, between: list[dict[str, Any]], forgiven: bool
):
    gone = versioned("2.0.0", SMALLER)
    for made in (MADE, *between, gone, gone):
        commit(file, made)

    assert [change.where for _, change in broken_promises(file, gone)] == ([] if forgiven else ["shop/payments.amount"])


def test_what_is_put_back_is_forgiven(file: Path):
    for made in (MADE, SMALLER, MADE):
        commit(file, made)

    assert broken_promises(file, MADE) == []


def test_an_earlier_version_can_be_asked_for_and_one_that_never_was_is_nothing(file: Path):
    for made in (MADE, SMALLER):
        commit(file, made)

    assert at("HEAD~1", file) == MADE
    assert at("HEAD~2", file) is None


def test_without_git_history_there_is_nothing_to_compare_with(tmp_path: Path):
    assert broken_promises(tmp_path / "shop.yaml", MADE) == []
