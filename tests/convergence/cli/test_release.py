"""The commands that release a model, and those that read the record of it."""

import json
import os
import pwd
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click
import polars as pl
import pytest

from convergence import cli
from convergence.cli.audit import audit
from convergence.lake.tables import Lake
from convergence.models.registry import Registry
from convergence.models.releases import Release, current, publish
from convergence.models.versions import versions
from convergence.services.redis import connect, stop_embedded
from convergence.versions.audit import process_user
from resources import environments
from resources.configured import resources
from tests.convergence.models.releasing import FRAUD, decisions, make, models, write

commands = import_module("convergence.cli.release")  # the package has a command of that name

Said = tuple[int, str, str]


of_the_use_cases = commands.releasable


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database before anything is in it: making one takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    Registry(f"sqlite:///{folder}/mlflow.db", str(folder)).aliases("fraud_model")
    return folder / "mlflow.db"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, empty_registry: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose lake has models to release."""
    here = environments.Settings(home=tmp_path / "home", data=None)
    (here.home / "mlflow").mkdir(parents=True)
    shutil.copy(empty_registry, here.home / "mlflow" / "mlflow.db")
    monkeypatch.setattr(environments, "settings", lambda: here)
    monkeypatch.setattr(commands, "releasable", lambda name: FRAUD)
    for command in (commands.promote, commands.rollback, commands.release, audit):
        cli.cli.add_command(command)
    make(Lake(str(here.home / "lake")))
    yield here.home
    stop_embedded(here.home)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What `convergence ARGUMENTS` answers: exit code, output, errors."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["convergence", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        told = capsys.readouterr()
        assert isinstance(code, int)
        return code, told.out, told.err

    return run


def promoted(said, *versions: str) -> None:
    for version in versions:
        assert said("promote", "fraud_model", "--version", version)[0] == 0


def test_promotion_and_rollback_tell_servers_and_people(said, home: Path) -> None:
    promoted(said, "v0", "v1")
    code, out, _ = said("rollback", "fraud_model", "--reason", "too many alerts")
    assert (code, out) == (0, "fraud_model: release 3 is v0 on transaction_features/f1\n")
    served = current(connect(None, home), "fraud_model")
    assert served is not None
    assert (served.number, served.model_version, served.namespace) == (3, "v0", "transaction_features/f1")
    registry = resources(environments.settings())["experiments"].plain
    assert registry.aliases("fraud_model") == {"champion": "v0"}
    assert Release.from_json(said("release", "show", "fraud_model")[1]) == served


def test_the_log_tells_who_did_what_and_why(said) -> None:
    promoted(said, "v0", "v1")
    said("rollback", "fraud_model", "--reason", "too many alerts")
    lines = said("audit", "list", "--subject", "fraud_model")[1].splitlines()
    assert [line.split()[2:5] for line in lines] == [
        [process_user(), "promote", "fraud_model"],
        [process_user(), "promote", "fraud_model"],
        [process_user(), "rollback", "fraud_model"],
    ]
    assert json.loads(lines[-1][lines[-1].index("{") :])["reason"] == "too many alerts"
    assert said("audit", "list", "--subject", "other")[1] == ""


@pytest.mark.parametrize("variable", ["LOGNAME", "USER"])
def test_who_releases_is_who_the_process_is_and_nobody_else(
    said, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "mallory")
    promoted(said, "v0")
    assert said("promote", "fraud_model", "--version", "v1", "--actor", "mallory")[0] == 2
    lines = said("audit", "list")[1].splitlines()
    assert [line.split()[2] for line in lines] == [pwd.getpwuid(os.getuid()).pw_name]


def test_a_refused_version_needs_a_reason(said) -> None:
    code, _, error = said("promote", "fraud_model", "--version", "v2")
    assert code == 2
    assert "the gate refused v2" in error
    assert "--override REASON" in error
    assert said("promote", "fraud_model", "--version", "v2", "--override", "tested by hand")[0] == 0
    assert "tested by hand" in said("audit", "list")[1]


def test_a_challenger_is_tried_and_its_trial_ended(said) -> None:
    promoted(said, "v0")
    out = said("promote", "fraud_model", "--version", "v1", "--to", "challenger", "--share", "0.1")[1]
    assert out == "fraud_model: release 2 is v0 on transaction_features/f1, trying v1 with 10%\n"
    registry = resources(environments.settings())["experiments"].plain
    assert registry.aliases("fraud_model") == {"champion": "v0", "challenger": "v1"}
    assert said("release", "end-canary", "fraud_model", "--reason", "enough seen")[0] == 0
    assert registry.aliases("fraud_model") == {"champion": "v0"}
    assert said("release", "end-canary", "fraud_model", "--reason", "again")[0] == 2


def test_a_server_that_does_not_answer_is_named_and_can_be_told_later(
    said, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        down = environments.Settings(home=home, data=None, redis="redis://127.0.0.1:1")
        broken.setattr(environments, "settings", lambda: down)
        code, out, error = said("promote", "fraud_model", "--version", "v0")
    assert code == 1
    assert "release 1 is v0" in out
    assert "not told: Redis" in error
    assert "`convergence release publish fraud_model`" in error
    assert current(connect(None, home), "fraud_model") is None
    assert said("release", "publish", "fraud_model")[0] == 0
    assert current(connect(None, home), "fraud_model") is not None


def test_a_flushed_redis_is_told_again(said, home: Path) -> None:
    promoted(said, "v0")
    connect(None, home).flushall()
    assert said("release", "publish", "fraud_model")[0] == 0
    assert current(connect(None, home), "fraud_model") is not None


def test_a_higher_release_of_another_lake_is_named_and_replaced_by_force(said, home: Path) -> None:
    promoted(said, "v0")
    mine = current(connect(None, home), "fraud_model")
    assert mine is not None
    publish(connect(None, home), replace(mine, number=9, model_version="foreign"))
    for arguments in (["release", "publish", "fraud_model"], ["promote", "fraud_model", "--version", "v1"]):
        code, _, error = said(*arguments)
        assert code == 1
        assert "not told: Redis, which holds release 9 (foreign)" in error
        assert "`convergence release publish fraud_model --force`" in error
    code, _, error = said("release", "publish", "fraud_model", "--force")
    assert (code, error) == (0, "")
    served = current(connect(None, home), "fraud_model")
    assert served is not None
    assert (served.number, served.model_version) == (2, "v1")


def test_a_user_without_a_name_is_on_record_by_number(said, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert said("promote", "fraud_model", "--version", "v0")[0] == 0
    assert f"uid {os.getuid()}" in said("audit", "list")[1]


def test_before_the_first_promotion_the_next_step_is_named(said) -> None:
    for arguments in (["release", "show", "fraud_model"], ["rollback", "fraud_model", "--reason", "x"]):
        code, _, error = said(*arguments)
        assert code == 2
        assert "`convergence promote fraud_model`" in error


def test_a_sound_log_verifies_with_its_head_and_a_broken_one_does_not(said, home: Path) -> None:
    promoted(said, "v0", "v1")
    code, out, _ = said("audit", "verify")
    assert code == 0
    head = out.split()[-1]
    assert said("audit", "verify", "--head", head)[0] == 0
    assert said("audit", "verify", "--head", "2:" + "0" * 64)[0] == 1
    file = home / "lake" / "_audit" / "0000000001.json"
    file.write_text(file.read_text().replace(f'"{process_user()}"', '"anne"'))
    code, out, _ = said("audit", "verify")
    assert code == 1
    assert "entry 1 was changed" in out


def test_a_head_that_is_none_is_a_usage_error(said) -> None:
    assert said("audit", "verify", "--head", "12")[0] == 2


def test_versions_are_listed_with_verdicts_and_what_serves(said) -> None:
    promoted(said, "v1")
    said("promote", "fraud_model", "--version", "v3", "--to", "challenger", "--share", "0.1")
    listed = {
        one["version"]: one for one in json.loads(said("release", "ls", "fraud_model", "--json")[1])["fraud_model"]
    }
    assert list(listed) == ["v3", "v2", "v1", "v0"]
    assert {version: one["passed"] for version, one in listed.items()} == {
        "v3": True,
        "v2": False,
        "v1": True,
        "v0": True,
    }
    assert listed["v2"]["verdict"] == "v2 is refused: too slow."
    assert {version: one["serves"] for version, one in listed.items()} == {
        "v3": "10% of requests, by release 2",
        "v2": "batch, 2018-08-10",
        "v1": "requests, by release 2",
        "v0": "",
    }
    shown = said("release", "ls", "fraud_model")[1].splitlines()
    assert shown[0] == "fraud_model: 4 versions"
    assert shown[1] == "  v3  as of 2018-08-08"


def test_a_version_that_was_made_again_is_listed_while_it_serves(said, home: Path) -> None:
    promoted(said, "v3")
    lake = Lake(str(home / "lake"))
    again = models().tail(1).with_columns(model_version=pl.lit("v9"))
    write(lake, FRAUD.models, again)
    write(lake, FRAUD.decisions, decisions().tail(1).with_columns(challenger_version=pl.lit("v9"), gate_roc_auc=0.8))
    first, *_, last = versions(lake, FRAUD)
    assert (first.version, first.measure, first.measured) == ("v9", "roc_auc", 0.8)
    assert (last.version, last.as_of, last.passed, last.serves) == ("v3", None, None, "requests, by release 1")


def test_the_models_of_the_use_cases_are_found() -> None:
    assert {name: of_the_use_cases(name).name for name in ("fraud_model", "churn_model")} == {
        "fraud_model": "fraud_model",
        "churn_model": "churn_model",
    }


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="no model 'nothing'"):
        of_the_use_cases("nothing")
