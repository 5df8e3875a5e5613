from datetime import date
from pathlib import Path

import pytest

from convergence import cli
from convergence.errors import ArrivalError
from resources import environments


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = environments.Settings(home=tmp_path / "home", data=None)
    monkeypatch.setattr(environments, "settings", lambda: here)
    return here.home


def outcome(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The exit code of `convergence ARGUMENTS`, 0 when it just returns."""
    monkeypatch.setattr("sys.argv", ["convergence", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    return 0


def test_a_platform_error_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(monkeypatch, "manifest", "fraud/nothing", "--partition", "2018-08-01") == 2
    error = capsys.readouterr().err
    assert error.startswith("TableMissing: fraud/nothing 2018-08-01 has never been written")
    assert error.count("\n") == 1


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArrivalError):
        outcome(monkeypatch, "--debug", "replay", "fraud.transactions", "--days", "2017-01-01..2017-01-02")


@pytest.mark.parametrize("days", ["2018-04-01", "2018-04-01..", "a..b", "2018-04-01...2018-04-03"])
def test_days_that_are_no_range_are_a_usage_error(
    days: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(monkeypatch, "replay", "fraud.transactions", "--days", days) == 2
    assert "A..B" in capsys.readouterr().err


def test_an_unknown_topic_is_refused_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(monkeypatch, "replay", "fraud.transfers", "--days", "2018-04-01..2018-04-02") == 2
    assert "fraud.transactions" in capsys.readouterr().err


def test_replay_writes_one_file_per_day_and_says_where_and_what_next(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(monkeypatch, "replay", "fraud.transactions", "--days", "2018-04-01..2018-04-03") == 0
    files = sorted(path.name for path in (home / "inbox" / "fraud.transactions").iterdir())
    assert files == [f"{date(2018, 4, day)}.parquet" for day in (1, 2, 3)]
    assert "the arrival sensor lands them" in capsys.readouterr().out


def test_check_refuses_a_partition_that_nothing_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(monkeypatch, "check", "--partition", "1999-01-01") == 2
    assert "1999-01-01" in capsys.readouterr().err


def test_check_fails_where_the_asset_was_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(monkeypatch, "check", "--partition", "2018-08-01") == 1
