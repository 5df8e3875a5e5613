"""What was acknowledged outlives a power cut, and what a power cut takes all the same is missed."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence import faults
from convergence.errors import LakeError
from convergence.lake import acknowledged, durable
from convergence.lake.erasures import ask, certify
from convergence.lake.maintenance import compact
from convergence.lake.manifests import manifest, states
from convergence.lake.repair import go_back
from convergence.lake.tables import Lake
from convergence.lake.verification import verify
from convergence.search import alias
from convergence.versions.audit import AuditLog, Draft
from tests.convergence.lake.frames import TABLE, append, contents, day, rows, values, write


@dataclass
class Disk:
    """What is waited for: contents of files and names in folders, by inode, as they were then."""

    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=dict)

    def wait(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            self.names[inode] = {each.name: each.stat().st_ino for each in path.iterdir()}
        else:
            self.contents[inode] = path.read_bytes()

    def cut_power(self, root: Path) -> None:
        """Leave what was waited for, and no more."""
        for path in sorted(root.rglob("*")):
            if not path.exists():
                continue
            inode = path.stat().st_ino
            if self.names.get(path.parent.stat().st_ino, {}).get(path.name) != inode:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            elif path.is_file():
                path.write_bytes(self.contents.get(inode, b""))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    found, fsync = Disk(), os.fsync

    def noted(held: int) -> None:
        fsync(held)
        found.wait(Path(f"/proc/self/fd/{held}").readlink())

    monkeypatch.setattr(os, "fsync", noted)
    durable.wait_for_the_disk(wait=True)
    yield found
    durable.wait_for_the_disk(wait=False)


def after_a_power_cut(lake: Lake, disk: Disk) -> Lake:
    disk.cut_power(Path(lake.root).parent)
    return Lake(lake.root)


def last_entry(lake: Lake, table: str = TABLE) -> Path:
    return max((Path(lake.uri(table)) / "_delta_log").glob("*.json"))


def test_what_was_acknowledged_is_there_after_a_power_cut(lake: Lake, disk: Disk):
    write(lake, rows(0, 1), rows(1, 2))
    append(lake, rows(0, 3), offset=1)
    write(lake, rows(1, 4, 5, note=6))  # with a new column
    write(lake, rows(2, 6, note=7))  # in a new folder

    cut = after_a_power_cut(lake, disk)

    assert values(cut) == [1, 3, 4, 5, 6]
    assert verify(cut, TABLE).damages == []


def test_merged_files_and_their_checkpoint_are_there_after_a_power_cut(lake: Lake, disk: Disk):
    for number in range(4):
        append(lake, rows(0, number), offset=number + 1)
    assert compact(lake, TABLE) == 3

    cut = after_a_power_cut(lake, disk)

    assert values(cut) == [0, 1, 2, 3]
    assert list((Path(cut.uri(TABLE)) / "_delta_log").glob("*.checkpoint.parquet"))


def test_a_release_an_erasure_and_a_switch_are_there_after_a_power_cut(tmp_path: Path, lake: Lake, disk: Disk):
    AuditLog(lake.store).append(Draft("me", "promote", "model", {}))
    stone, _ = ask(lake, "customer", ["1"], "me", "asked")
    certify(lake, stone, {})
    index = tmp_path / "lake" / "index"
    index.mkdir()
    alias.switched(index, "a" * 64, None, lambda: None)
    disk.wait(Path(lake.root))  # its folder is for whoever makes an index to wait for
    before = contents(Path(lake.root))

    after_a_power_cut(lake, disk)

    assert contents(Path(lake.root)) == before


def test_by_setting_nobody_waits_and_a_lost_commit_is_still_missed(lake: Lake, disk: Disk):
    durable.wait_for_the_disk(wait=False)
    write(lake, rows(0, 1))
    assert disk == Disk()
    last_entry(lake).unlink()
    with pytest.raises(LakeError, match="version 1 was acknowledged"):
        lake.open(TABLE)


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "cut after a line", "zeros", "a flipped bit"])
def test_a_lost_commit_is_refused_to_readers_and_writers(lake: Lake, harm: str):
    write(lake, rows(0, 1))
    write(lake, rows(0, 2))
    entry = last_entry(lake)
    content = entry.read_bytes()
    if harm == "missing":
        entry.unlink()
    else:
        flipped = content.replace(b"Append", b"Appenc", 1)
        left = {
            "a flipped bit": flipped,
            "empty": b"",
            "cut": content[:300],
            "cut after a line": content[: content.index(b"\n")],
        }
        entry.write_bytes(left.get(harm, b"\0" * len(content)))
    before = contents(Path(lake.root))

    for work in (
        lambda: lake.scan(TABLE),
        lambda: write(lake, rows(0, 3)),
        lambda: append(lake, rows(0, 3), offset=1),
        lambda: states(lake, [TABLE]),
        lambda: manifest(lake, TABLE, day(0)),
    ):
        with pytest.raises(LakeError, match=rf"{entry.name} is .*`convergence repair {TABLE}`"):
            work()
    assert contents(Path(lake.root)) == before


def test_a_log_that_is_gone_is_no_new_table(lake: Lake):
    write(lake, rows(0, 1))
    shutil.rmtree(Path(lake.uri(TABLE)) / "_delta_log")
    with pytest.raises(LakeError, match="its log is gone, and version 1 was acknowledged"):
        lake.open(TABLE)


def test_a_crash_between_a_commit_and_its_acknowledgement_leaves_the_commit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    write(lake, rows(0, 1))
    monkeypatch.setattr(faults, "_armed", [])
    faults.arm("before_acknowledged:1:fail")
    with pytest.raises(OSError, match="injected"):
        write(lake, rows(0, 2))

    assert values(Lake(lake.root)) == [2]
    write(lake, rows(0, 3))
    assert values(lake) == [3]
    known = acknowledged.newest(Path(lake.uri(TABLE)))
    assert known
    assert known.version == 3


def test_an_empty_entry_that_nobody_acknowledged_is_told_as_well(lake: Lake):
    write(lake, rows(0, 1))
    acknowledged.entry_of(Path(lake.uri(TABLE)), 2).touch()
    with pytest.raises(LakeError, match=r"0002\.json is empty: its commit was not acknowledged"):
        lake.open(TABLE)


def test_a_table_of_before_there_were_acknowledgements_is_read_and_gets_them(lake: Lake):
    write(lake, rows(0, 1))
    (Path(lake.uri(TABLE)) / acknowledged.FILE).unlink()
    assert values(lake) == [1]
    write(lake, rows(0, 2))
    assert len((Path(lake.uri(TABLE)) / acknowledged.FILE).read_text().splitlines()) == 3


def test_a_table_that_lost_commits_goes_back_and_says_what_they_held(lake: Lake):
    write(lake, rows(0, 1), rows(1, 1))
    before = states(lake, [TABLE])
    write(lake, rows(1, 2))
    last_entry(lake).write_bytes(b"")

    gone = go_back(lake, TABLE)

    assert gone == (1, [day(1)], False)
    assert values(lake) == [1, 1]
    assert states(lake, [TABLE]) == before
    write(lake, rows(1, 3))
    assert states(lake, [TABLE])[TABLE][day(1)].version == 2
    assert go_back(lake, TABLE) is None


def test_a_damaged_checkpoint_is_left_out(lake: Lake):
    for number in range(3):
        append(lake, rows(0, number), offset=number + 1)
    compact(lake, TABLE)
    (checkpoint,) = (Path(lake.uri(TABLE)) / "_delta_log").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(b"")

    assert go_back(lake, TABLE) == (4, [], False)
    assert values(lake) == [0, 1, 2]


def test_a_damaged_note_of_what_was_acknowledged_is_told_and_costs_no_commit(lake: Lake):
    write(lake, rows(0, 1))
    write(lake, rows(0, 2))
    noted = Path(lake.uri(TABLE)) / acknowledged.FILE
    for damage in (b"\xff" * 18, b"x"):
        noted.write_bytes(noted.read_bytes()[: -len(damage)] + damage)
        with pytest.raises(LakeError, match=r"repair"):
            lake.open(TABLE)
        assert go_back(lake, TABLE) == (2, [], False)
        assert values(lake) == [2]
        assert verify(lake, TABLE).damages == []


def test_an_entry_that_says_something_else_is_not_taken_for_what_was_acknowledged(lake: Lake):
    write(lake, rows(0, 1))
    entry = last_entry(lake)
    entry.write_bytes(entry.read_bytes().replace(b"Append", b"Appenc", 1))
    with pytest.raises(LakeError, match="restore its folder from a backup"):
        go_back(lake, TABLE)


def test_more_than_the_end_of_a_log_is_not_given_up(lake: Lake):
    for number in range(3):
        write(lake, rows(0, number))
    acknowledged.entry_of(Path(lake.uri(TABLE)), 2).unlink()
    before = contents(Path(lake.root))
    with pytest.raises(LakeError, match="restore its folder from a backup"):
        go_back(lake, TABLE)
    assert contents(Path(lake.root)) == before


@given(order=st.permutations(range(6)))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whoever_acknowledges_first_the_newest_commit_counts(tmp_path: Path, order: list[int]):
    table = tmp_path / "".join(map(str, order))
    log = table / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    for version in range(6):
        acknowledged.entry_of(table, version).write_text(f'{{"version": {version}}}')
    newest = -1
    for version in order:
        acknowledged.acknowledge(table, version)
        newest = max(newest, version)
        known = acknowledged.newest(table)
        assert known
        assert known.version == newest
    assert list(acknowledged.changed(table)) == []
