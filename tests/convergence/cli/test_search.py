import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from convergence.cli.search import search
from convergence.cli.serve import serve
from convergence.errors import EncoderMismatch, IndexMissing, SearchError
from convergence.lake.tables import Lake
from convergence.search.kept_encoders import FOLDER, keep
from resources.environments import settings
from tests.convergence.search.small_world import COLOURS, World, encoders, picture, squares
from tests.convergence.serving.service import ask
from tests.graph.house import ROOT


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("home"))
    entries = squares(world.objects, 6)
    entries[0] = replace(entries[0], item=replace(entries[0].item, title="\x1b[31mred\n square " + "x" * 200))
    world.release(world.build(entries))
    for encoder in encoders().values():
        keep(Lake(str(world.home / "lake")).store, encoder)
    return world


@pytest.fixture
def home(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CONVERGENCE_HOME", str(world.home))
    settings.cache_clear()
    yield world.home
    settings.cache_clear()


def said(*command: str) -> str:
    result = CliRunner().invoke(search, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_words_find_items_a_line_each_best_first(home: Path) -> None:
    lines = said("a red square", "--limit", "4").splitlines()
    assert len(lines) == 4
    assert {line.split()[4] for line in lines} == {"caption-0-0", "caption-3-0", "image-0", "image-3"}


def test_what_a_text_tells_a_terminal_is_left_out(home: Path) -> None:
    output = said("red", "--modality", "image", "--limit", "2")
    assert "\x1b" not in output
    assert all(len(line) < 130 for line in output.splitlines())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["red", "--modality", "image"], ["image"]),
        (["red", "--modality", "image", "--modality", "text"], ["image", "text"]),
        (["--code", "sum(numbers)"], ["code"]),
        (["numbers", "--language", "python"], ["code"]),
    ],
    ids=str,
)
def test_what_is_asked_for_narrows_what_is_found(home: Path, options: list[str], expected: list[str]) -> None:
    found = json.loads(said(*options, "--json", "--limit", "50"))
    assert sorted({result["modality"] for result in found["results"]}) == expected
    assert len(found["index_version"]) == 64


def test_days_bound_what_is_found(home: Path) -> None:
    found = json.loads(said("square", "--from", "2024-05-02", "--to", "2024-05-03", "--json"))
    assert {result["day"] for result in found["results"]} == {"2024-05-02", "2024-05-03"}
    assert "Nothing was found" in said("square", "--from", "2031-01-01")


def test_an_image_finds_what_looks_like_it(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.png"
    file.write_bytes(picture(COLOURS["blue"]))
    found = json.loads(said("--image", str(file), "--json", "--limit", "2", "--modality", "image"))
    assert {result["item_id"] for result in found["results"]} == {"image-2", "image-5"}


def test_one_of_words_code_and_image_is_asked_with_and_no_index_is_looked_for_before(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVERGENCE_HOME", str(tmp_path))
    settings.cache_clear()
    for command in ([], ["red", "--code", "x"]):
        with pytest.raises(SearchError, match="one of text, code and image"):
            CliRunner().invoke(search, command, catch_exceptions=False)


def test_without_a_live_index_the_command_that_builds_one_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVERGENCE_HOME", str(tmp_path))
    settings.cache_clear()
    with pytest.raises(IndexMissing, match="convergence demo --use-case semantic_search"):
        CliRunner().invoke(search, ["red"], catch_exceptions=False)


def test_an_index_whose_encoders_the_lake_lacks_is_refused_and_leaves_nothing_open(home: Path, world: World) -> None:
    before = sorted(world.snapshots.root.iterdir())
    kept, away = home / "lake" / FOLDER, home / "away"
    kept.rename(away)
    try:
        with pytest.raises(EncoderMismatch, match="is not kept in this lake"):
            CliRunner().invoke(search, ["red"], catch_exceptions=False)
    finally:
        away.rename(kept)
    assert sorted(world.snapshots.root.iterdir()) == before


def test_a_use_case_that_is_not_searched_is_answered_with_those_that_are(home: Path) -> None:
    result = CliRunner().invoke(search, ["red", "--use-case", "churn"])
    assert result.exit_code == 2
    assert "there are: semantic_search" in result.output
    result = CliRunner().invoke(serve, ["other"])
    assert "semantic_search" in result.output


def test_the_server_of_a_searched_use_case_answers_and_ends_with_its_decoder(home: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "convergence.cli", "serve", "semantic_search", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ}, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not _answers(port):
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert ask(port, "GET", "/v1/search?q=red")[1]["total"] == 18
            assert ask(port, "POST", "/v1/search/image", raw=picture(COLOURS["red"]))[0] == 200
            tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
            children = [child for task in tasks for child in task.read_text().split()]
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "Traceback" not in told
    assert children
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a process that it started is still there"
        time.sleep(0.1)
    assert [path.name for path in (home / "indexes" / "semantic_search").iterdir() if "open" in path.name] == []


def _answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/health")[0] == 200
    except OSError:
        return False
