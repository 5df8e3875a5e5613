"""Indexes on disk listed, switched and rolled back by command, on real small snapshots."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from convergence.cli.index import index as command
from convergence.errors import IndexConflict, IndexMissing
from convergence.lake.tables import Lake
from convergence.search.snapshots import Snapshots
from convergence.versions.audit import AuditLog, Entry, process_user
from convergence_assets.semantic_search.release import SUBJECT
from resources.environments import settings
from tests.convergence.search.small_world import World, encoders, squares


@dataclass
class Home:
    """A home with indexes of six, nine and three items; the first of them is live."""

    snapshots: Snapshots
    lake: Lake
    six: str
    nine: str
    three: str

    @property
    def live(self) -> str:
        there = self.snapshots.live()
        assert there
        return there.version

    def audited(self) -> list[Entry]:
        return list(AuditLog(self.lake.store).entries(SUBJECT))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    world = World(tmp_path)
    built = [world.build(squares(world.objects, number)) for number in (2, 3, 1)]
    world.release(built[0])
    monkeypatch.setenv("CONVERGENCE_HOME", str(tmp_path))
    settings.cache_clear()
    yield Home(world.snapshots, Lake(str(tmp_path / "lake")), *built)
    settings.cache_clear()


def said(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_indexes_are_listed_with_what_they_hold_the_live_one_first(home: Home) -> None:
    said("switch", home.nine, "--reason", "newer")
    lines = said("ls").splitlines()
    assert [line.split()[0] for line in lines[1:]] == [home.nine[:12], home.six[:12], home.three[:12]]
    assert "live since 20" in lines[1]
    assert "3 image, 3 text, 3 code" in lines[1]
    assert lines[2].split()[1] == "previous"


def test_all_that_is_known_of_them_is_there_as_json(home: Home) -> None:
    found = {one["version"]: one for one in json.loads(said("ls", "--json"))}
    assert found.keys() == {home.six, home.nine, home.three}
    one = found[home.six]
    assert (one["state"], found[home.nine]["state"]) == ("live", "")
    assert one["items"] == {"image": 2, "text": 2, "code": 2}
    assert one["encoders"]["text"] == encoders()["text"].digest
    assert one["bytes"] > 1000
    assert one["recall_10"] is None  # nothing was checked when it was built


def test_a_switch_is_one_change_of_the_alias_and_one_entry_of_the_log(home: Home) -> None:
    output = said("switch", home.nine[:10], "--reason", "found more")
    assert output == f"semantic_search: {home.nine[:12]} answers, instead of {home.six[:12]}\n"
    assert home.live == home.nine
    (entry,) = home.audited()
    assert (entry.actor, entry.action) == (process_user(), "switch_index")
    assert entry.detail == {
        "index_version": home.nine,
        "before": home.six,
        "day": None,
        "reason": "found more",
    }


def test_a_switch_to_what_is_live_changes_nothing_and_is_not_on_record(home: Home) -> None:
    assert json.loads(said("switch", home.six, "--reason", "none", "--json"))["changed"] is False
    assert home.audited() == []


def test_a_rollback_returns_to_what_answered_before_and_says_why(home: Home) -> None:
    said("switch", home.nine, "--reason", "found more")
    told = json.loads(said("rollback", "--reason", "found worse", "--json"))
    assert (told["version"], told["before"], told["changed"]) == (home.six, home.nine, True)
    assert home.live == home.six
    entry = home.audited()[-1]
    assert (entry.actor, entry.action, entry.detail["reason"]) == (process_user(), "rollback_index", "found worse")


def test_a_rollback_without_anything_before_is_refused(home: Home) -> None:
    with pytest.raises(IndexMissing, match="only one was ever live"):
        said("rollback", "--reason", "why not")
    assert home.live == home.six


@pytest.mark.parametrize("name", ["0" * 64, ""], ids=["unknown", "ambiguous"])
def test_a_version_that_does_not_name_one_on_disk_is_refused(home: Home, name: str) -> None:
    with pytest.raises(IndexMissing, match=f"expected one of: .*{home.three[:12]}"):
        said("switch", name, "--reason", "typed")
    assert home.live == home.six


def test_a_version_that_left_the_disk_is_refused(home: Home) -> None:
    said("switch", home.nine, "--reason", "found more")
    home.snapshots.prune()
    with pytest.raises(IndexMissing, match="no index versions on disk begin with"):
        said("switch", home.three, "--reason", "gone")


def test_a_switch_that_another_one_preceded_is_refused(home: Home) -> None:
    home.snapshots.switch(home.three, expected=home.six)  # by somebody else
    with pytest.raises(IndexConflict, match="another switch came first"):
        said("switch", home.nine, "--expected", home.six, "--reason", "found more")
    assert home.live == home.three
    assert home.audited() == []


def test_what_is_done_needs_a_reason(home: Home) -> None:
    with pytest.raises(click.MissingParameter, match="reason"):
        command.main(["switch", home.nine], standalone_mode=False)


def test_a_home_without_indexes_says_what_comes_first(tmp_path: Path, home: Home) -> None:
    for version in home.snapshots.versions():
        (home.snapshots.root / version).rename(tmp_path / version)
    assert said("ls").startswith("No index is on disk. Next: ")
