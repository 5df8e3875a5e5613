import json
import logging
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import LakeError
from convergence.observability.context import bound
from convergence.observability.day_files import append
from convergence.observability.logs import JsonLines, log_beside, printable

log = logging.getLogger("convergence.test")


def written(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


def test_a_line_has_time_level_logger_message_and_the_bound_ids(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    with log_beside(tmp_path), bound(request_id="a", model_version="m"):
        log.info('%d rows of "x"', 3)
    (line,) = written(tmp_path)
    assert before.timestamp() - 1 <= datetime.fromisoformat(str(line.pop("time"))).timestamp()
    assert line == {
        "level": "INFO",
        "logger": "convergence.test",
        "message": '3 rows of "x"',
        "request_id": "a",
        "model_version": "m",
    }


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError("customer 4711"), "ValueError"), (LakeError("it is full"), "LakeError: it is full")],
    ids=["of a library", "of ours"],
)
def test_of_an_error_only_the_platforms_own_text_is_kept(tmp_path: Path, error: Exception, told: str) -> None:
    with log_beside(tmp_path):
        try:
            raise error
        except type(error):
            log.exception("failed")
    (line,) = written(tmp_path)
    assert line["error"] == told
    assert "test_of_an_error" in str(line["stack"])
    assert "/" not in str(line["stack"])
    assert "4711" not in json.dumps(line)


def test_warnings_are_on_stderr_too_and_afterwards_all_is_as_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    platform = logging.getLogger("convergence")
    before = (platform.level, list(platform.handlers))
    with log_beside(tmp_path):
        log.warning("look")
        log.info("all is well")
    assert capsys.readouterr().err == "look\n"
    assert len(written(tmp_path)) == 2
    assert (platform.level, platform.handlers) == before


def test_without_a_folder_the_lines_are_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with log_beside(None):
        log.info("here")
    assert json.loads(capsys.readouterr().err)["message"] == "here"


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("a file in its place")
    with log_beside(tmp_path / "logs"):
        log.info("lost")
    assert "Logging error" in capsys.readouterr().err


def _append(folder: Path) -> None:
    for n in range(50):
        append(folder, json.dumps({"n": n, "long": "x" * 20_000}) + "\n")


def test_lines_of_several_processes_do_not_get_into_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(tmp_path,)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(line["n"] for line in written(tmp_path)) == sorted(list(range(50)) * 4)  # pyright: ignore


def test_a_line_logged_in_a_run_says_which_and_which_step() -> None:
    record = logging.makeLogRecord({"msg": "job - run - step - done", "levelname": "INFO"})
    record.dagster_meta = {"run_id": "r", "job_name": "j", "step_key": "s", "orig_message": "done", "op_name": "o"}
    line = json.loads(JsonLines().format(record))
    assert {k: line[k] for k in ("message", "run_id", "job_name", "step_key")} == {
        "message": "done",
        "run_id": "r",
        "job_name": "j",
        "step_key": "s",
    }
    assert "op_name" not in line


FORGED = "GET /a\n2026-01-01 ERROR all is lost\r\x1b[2J\x9b31m\u202e\u2028\x00"


def test_what_a_client_says_is_one_line_in_terminal_and_log_and_moves_no_cursor(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with log_beside(tmp_path):
        logging.getLogger("convergence.test").warning("asked for %s", FORGED)
        try:
            raise ValueError(FORGED)
        except ValueError:
            logging.getLogger("convergence.test").exception("failed")
    (file,) = tmp_path.glob("*.jsonl")
    terminal, written = capfd.readouterr().err, file.read_text()
    first, *rest = terminal.splitlines()
    assert first == "asked for GET /a\\n2026-01-01 ERROR all is lost\\r\\u001b[2J\\u009b31m\\u202e\\u2028\\u0000"
    assert all(sign.isprintable() for sign in (terminal + written).replace("\n", ""))
    assert not any(line.startswith("2026-01-01") for line in rest)
    assert json.loads(written.splitlines()[0])["message"] == f"asked for {FORGED}"


@given(st.text(st.characters()))  # halves of characters too, which no terminal can be sent
def test_a_printable_text_has_nothing_unseen_and_tells_all(text: str) -> None:
    shown = printable(json.dumps(text, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == text
