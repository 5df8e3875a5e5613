"""Snapshots are whole or not there, never change, and are exchanged at once, whoever reads, builds or dies."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Barrier, Event

import polars as pl
import pytest

from convergence.errors import IndexConflict, IndexMissing, SearchError
from convergence.search.backends import Hit, VectorIndex
from convergence.search.contents import version_of
from convergence.search.owned_folders import copied
from convergence.search.snapshots import Built, Snapshots
from tests.convergence.search.index_points import made, units
from tests.convergence.search.killed_build import DEATHS, second

ROOT = Path(__file__).parents[3]
Points = Mapping[str, pl.DataFrame]


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "index")


def both(rows: int = 50, dimension: int = 8) -> dict[str, pl.DataFrame]:
    return {name: made(rows, seed=seed, dimension=dimension) for name, seed in (("text", 0), ("image", 1))}


def hits(index: VectorIndex, queries: int = 50) -> list[list[Hit]]:
    dense = [index.dense(v.tolist(), 10) for v in units(queries, index.dimension, seed=9)]
    return dense + [index.sparse([n * 300_000_000, 0], [1.0, 0.5], 10) for n in range(12)]


def answers(snapshots: Snapshots, version: str) -> dict[str, list[list[Hit]]]:
    with snapshots.opened(version) as snapshot:
        return {modality: hits(index) for modality, index in snapshot.indexes.items()}


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """What changes with any write, without reading hundreds of megabytes of holes."""
    stats = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def names(snapshots: Snapshots) -> set[str]:
    return {path.name for path in snapshots.root.iterdir()} - {".lock"}


def test_a_snapshot_says_what_is_in_it(snapshots: Snapshots) -> None:
    about = {"encoders": {"text": "e1"}}
    version = version_of(both(), about)
    assert snapshots.build(version, both(), about, check=lambda found: {"recall": len(found)}) == Built(
        version, 100, 0, False
    )
    with snapshots.opened(version) as opened:
        assert opened.about["encoders"] == {"text": "e1"}
        assert opened.about["counts"] == {m: i.count() for m, i in opened.indexes.items()} == {"text": 50, "image": 50}
        assert (opened.about["checks"], opened.about["backend"]["name"]) == ({"recall": 2}, "qdrant-edge-py")
    assert names(snapshots) == {version}


def test_an_incremental_build_answers_as_one_from_nothing(tmp_path: Path) -> None:
    old, new = both(), both()
    text = new["text"].with_columns(
        payload=pl.when(pl.col("payload") == '{"n": 7}').then(pl.lit("new")).otherwise("payload")
    )
    new["text"] = pl.concat([text.slice(5), made(20, seed=5)])
    one, other = Snapshots(tmp_path / "one"), Snapshots(tmp_path / "other")
    one.build("first", old, {})
    assert one.build("second", new, {}, "first") == Built("second", 21, 5, False)
    assert other.build("second", new, {}) == Built("second", 115, 0, False)
    assert answers(one, "second") == answers(other, "second")


def test_a_second_build_does_nothing(snapshots: Snapshots) -> None:
    snapshots.build("first", both(), {})
    before = stamps(snapshots.root)
    assert snapshots.build("first", both(), {}, "first") == Built("first", 0, 0, True)
    assert stamps(snapshots.root) == before


def test_one_changed_item_is_one_write_and_one_removed_item_one_delete(snapshots: Snapshots) -> None:
    snapshots.build("first", both(), {})
    changed = {
        **both(),
        "text": both()["text"].with_columns(language=pl.Series(["go", *both()["text"]["language"][1:]])),
    }
    assert snapshots.build("changed", changed, {}, "first")[1:3] == (1, 0)
    assert snapshots.build("removed", {**both(), "text": both()["text"].slice(1)}, {}, "first")[1:3] == (0, 1)


def test_a_build_leaves_the_snapshot_that_it_began_with_as_it_was(snapshots: Snapshots) -> None:
    snapshots.build("first", both(), {})
    before, found = files(snapshots.root / "first"), answers(snapshots, "first")
    snapshots.build("second", {"text": made(80, seed=3)}, {}, "first")
    assert (files(snapshots.root / "first"), answers(snapshots, "first")) == (before, found)


def test_a_modality_of_another_dimension_is_begun_anew_and_the_other_is_not(snapshots: Snapshots) -> None:
    snapshots.build("first", both(), {})
    new = {**both(), "text": both(dimension=4)["text"]}
    assert snapshots.build("second", new, {}, "first") == Built("second", 50, 0, False)
    with snapshots.opened("second") as opened:
        assert {m: i.dimension for m, i in opened.indexes.items()} == {"text": 4, "image": 8}


def test_a_modality_that_lost_its_points_is_gone(snapshots: Snapshots) -> None:
    snapshots.build("first", both(), {})
    snapshots.build("second", {**both(), "image": made(0)}, {}, "first")
    with snapshots.opened("second") as opened:
        assert set(opened.indexes) == {"text"}


def test_a_previous_snapshot_that_is_gone_costs_a_whole_build(snapshots: Snapshots) -> None:
    assert snapshots.build("second", both(), {}, "never-built") == Built("second", 100, 0, False)


def test_no_index_at_all_is_a_snapshot_too(snapshots: Snapshots) -> None:
    snapshots.build("empty", {}, {})
    with snapshots.opened("empty") as opened:
        assert opened.indexes == {}


def test_a_check_that_refuses_leaves_no_snapshot(snapshots: Snapshots) -> None:
    def refuse(_: Mapping[str, VectorIndex]) -> Mapping[str, object]:
        raise SearchError("recall is too low")

    with pytest.raises(SearchError, match="recall is too low"):
        snapshots.build("first", both(), {}, check=refuse)
    assert names(snapshots) == set()


def test_any_number_of_readers_open_one_snapshot_and_leave_nothing(snapshots: Snapshots) -> None:
    snapshots.build("first", both(), {})
    before, found = files(snapshots.root / "first"), answers(snapshots, "first")
    opened = [snapshots.opened("first") for _ in range(3)]
    opened[0].indexes["text"].delete(both()["text"]["item_id"].to_list())
    assert [{m: hits(i) for m, i in snapshot.indexes.items()} for snapshot in opened[1:]] == [found, found]
    for snapshot in opened:
        snapshot.close()
    assert names(snapshots) == {"first"}
    assert files(snapshots.root / "first") == before


def test_threads_share_an_opened_snapshot(snapshots: Snapshots) -> None:
    snapshots.build("first", both(), {})
    found = answers(snapshots, "first")["text"]
    with snapshots.opened("first") as opened, ThreadPoolExecutor(4) as pool:
        assert all(one == found for one in pool.map(hits, [opened.indexes["text"]] * 8))


def test_a_version_that_is_not_there_is_one_clear_error(snapshots: Snapshots) -> None:
    snapshots.build("first", both(5), {})
    with pytest.raises(IndexMissing, match=r"version second is not on disk: expected one of \['first'\]"):
        snapshots.opened("second")
    with pytest.raises(IndexMissing, match="build it, then switch"):
        snapshots.switch("second", expected=None)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".building-x", "live.json", "x" * 101])
def test_a_version_that_could_leave_the_folder_is_refused(snapshots: Snapshots, name: str) -> None:
    with pytest.raises(SearchError, match="expected letters and digits"):
        snapshots.build(name, both(5), {})


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "one bit": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "longer": lambda path: os.truncate(path, path.stat().st_size + 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_snapshot_is_refused_whichever_file_of_it_is_damaged(snapshots: Snapshots, damage: str) -> None:
    snapshots.build("first", {"text": made(20)}, {})
    paths = [path for path in (snapshots.root / "first").rglob("*") if path.is_file() and path.stat().st_size]
    small = [path for path in paths if path.stat().st_size < 1 << 20]  # the others are 32 MB of holes
    assert len(small) > 20
    for path in small[::3]:
        content = path.read_bytes()
        DAMAGE[damage](path)
        with pytest.raises(SearchError, match="the snapshot is damaged"):
            snapshots.opened("first")
        path.write_bytes(content)
    assert len(answers(snapshots, "first")) == 1


def test_nothing_is_built_upon_a_damaged_snapshot(snapshots: Snapshots) -> None:
    snapshots.build("first", {"text": made(20)}, {})
    next((snapshots.root / "first" / "shards" / "text").rglob("chunk_0.mmap")).write_bytes(b"x")
    with pytest.raises(SearchError, match=r"1 of \d+ files are not as they were"):
        snapshots.build("second", {"text": made(21)}, {}, "first")
    assert snapshots.versions() == ["first"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": "first"}', '{"version": 1, "previous": null, "at": "2024-01-01"}']
)
def test_a_damaged_alias_is_one_clear_error(snapshots: Snapshots, text: str) -> None:
    snapshots.root.mkdir()
    (snapshots.root / "live.json").write_text(text)
    with pytest.raises(SearchError, match=r"live\.json cannot be read"):
        snapshots.live()


def test_what_a_damaged_snapshot_says_of_itself_is_one_clear_error(snapshots: Snapshots) -> None:
    snapshots.build("first", {"text": made(3)}, {})
    (snapshots.root / "first" / "index.json").write_text("{")
    with pytest.raises(SearchError, match=r"first has a damaged index\.json"):
        snapshots.about("first")


def test_a_switch_remembers_what_was_before(snapshots: Snapshots) -> None:
    assert snapshots.live() is None
    assert snapshots.opened_live() is None
    for version in ("a", "b"):
        snapshots.build(version, {}, {})
    snapshots.switch("a", expected=None)
    there = snapshots.switch("b", expected="a")
    assert there == snapshots.live()
    assert there[:2] == ("b", "a")
    assert snapshots.switch("b", expected="b") == there


def test_a_switch_is_on_record_before_it_happens_and_only_where_it_does(snapshots: Snapshots) -> None:
    for version in ("a", "b"):
        snapshots.build(version, {}, {})
    seen: list[str | None] = []

    def record() -> None:
        there = snapshots.live()
        seen.append(there.version if there else None)

    snapshots.switch("a", expected=None, record=record)
    snapshots.switch("b", expected="a", record=record)
    assert seen == [None, "a"]
    snapshots.switch("b", expected="b", record=record)
    with pytest.raises(IndexConflict):
        snapshots.switch("a", expected=None, record=record)
    assert seen == [None, "a"]


def test_a_switch_that_cannot_go_on_record_does_not_happen(snapshots: Snapshots) -> None:
    snapshots.build("a", {}, {})

    def record() -> None:
        raise OSError("the log cannot be written")

    with pytest.raises(OSError, match="the log"):
        snapshots.switch("a", expected=None, record=record)
    assert snapshots.live() is None


def test_a_switch_of_who_did_not_know_what_is_live_is_refused(snapshots: Snapshots) -> None:
    for version in ("a", "b"):
        snapshots.build(version, {}, {})
    snapshots.switch("a", expected=None)
    with pytest.raises(IndexConflict, match="expected version none to be live, found a"):
        snapshots.switch("b", expected=None)
    there = snapshots.live()
    assert there is not None
    assert there[:2] == ("a", None)


def test_of_switches_at_once_each_that_expects_the_same_one_wins(snapshots: Snapshots) -> None:
    versions = [f"v{n}" for n in range(8)]
    for version in versions:
        snapshots.build(version, {}, {})
    start = Barrier(8)

    def attempt(version: str) -> bool:
        start.wait()
        try:
            snapshots.switch(version, expected=None)
        except IndexConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = dict(zip(versions, pool.map(attempt, versions), strict=True))
    assert [version for version, did in won.items() if did] == [snapshots.live()[0]]  # pyright: ignore


def test_live_previous_and_what_is_to_be_kept_stay_on_disk(snapshots: Snapshots) -> None:
    for version in "abcdef":
        snapshots.build(version, {}, {})
    for before, after in zip([None, *"abc"], "abcd", strict=True):
        snapshots.switch(after, expected=before)
    assert snapshots.prune("f") == ["a", "b", "e"]
    assert names(snapshots) == {"c", "d", "f", "live.json"}
    assert snapshots.prune() == ["f"]


def test_nothing_is_pruned_under_a_reader(snapshots: Snapshots) -> None:
    snapshots.build("a", both(), {})
    found = answers(snapshots, "a")
    with snapshots.opened("a") as opened:
        snapshots.prune()
        assert snapshots.versions() == []
        assert {m: hits(i) for m, i in opened.indexes.items()} == found


def test_of_two_builds_of_one_version_at_once_one_wins_and_the_other_does_nothing(snapshots: Snapshots) -> None:
    start = Barrier(2)

    def meet(_: Mapping[str, VectorIndex]) -> Mapping[str, object]:
        start.wait()
        return {}

    with ThreadPoolExecutor(2) as pool:
        built = list(pool.map(lambda _: snapshots.build("first", both(), {}, check=meet), range(2)))
    assert sorted(built) == [Built("first", 0, 0, True), Built("first", 100, 0, False)]
    assert names(snapshots) == {"first"}
    assert len(answers(snapshots, "first")) == 2


def test_readers_never_see_a_missing_or_half_snapshot_nor_mix_encoders(snapshots: Snapshots) -> None:
    """Two encoders of different dimension take turns; each reader's query is of the encoder that its snapshot names."""
    dimensions, done = {"a": 8, "b": 4}, Event()

    def of(version: str) -> tuple[Points, Mapping[str, object]]:
        return both(30, dimensions[version]), {"encoders": dict.fromkeys(("text", "image"), dimensions[version])}

    def read() -> list[str]:
        seen = []
        while not done.is_set():
            assert snapshots.live() is not None
            with snapshots.opened_live() as snapshot:  # pyright: ignore
                for modality, index in snapshot.indexes.items():
                    dimension = snapshot.about["encoders"][modality]
                    assert dimension == dimensions[snapshot.version]
                    assert len(index.dense(units(1, dimension)[0].tolist(), 40)) == 30
                seen.append(snapshot.version)
        return seen

    snapshots.build("a", *of("a"))
    snapshots.switch("a", expected=None)
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for turn in range(6):
                old, new = ("a", "b") if turn % 2 == 0 else ("b", "a")
                snapshots.build(new, *of(new), previous=old)
                snapshots.switch(new, expected=old)
                if turn % 3 == 0:  # the reader may have been told of `old` a moment ago
                    (snapshots.root / old).rename(snapshots.root / f".removed-{old}")
        finally:
            done.set()
        assert {version for reader in readers for version in reader.result()} == {"a", "b"}
    snapshots.prune()
    assert names(snapshots) <= {"a", "b", "live.json"}


def test_a_build_that_is_killed_anywhere_leaves_everything_as_it_was_and_the_next_one_works(tmp_path: Path) -> None:
    built = Snapshots(tmp_path / "built")
    built.build("first", both(), {})
    built.switch("first", expected=None)
    roots = {death: Snapshots(tmp_path / death) for death in DEATHS}
    for snapshots in roots.values():
        copied(built.root, snapshots.root)
    before = {death: stamps(snapshots.root / "first") for death, snapshots in roots.items()}
    command = [sys.executable, "-m", "tests.convergence.search.killed_build", *(s.root for s in roots.values())]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert dict(zip(ended[::2], ended[1::2], strict=True)) == dict.fromkeys(DEATHS, "-9")
    expected = Snapshots(tmp_path / "undisturbed")
    expected.build("second", second(), {})
    found = answers(expected, "second")
    for death, snapshots in roots.items():
        assert snapshots.versions() == ["first"], death
        assert json.loads((snapshots.root / "live.json").read_text())["version"] == "first"
        assert stamps(snapshots.root / "first") == before[death]
        assert any(name.startswith(".building-second") for name in names(snapshots)), death
        assert snapshots.build("second", second(), {}, "first") == Built("second", 0, 2, False)
        assert answers(snapshots, "second") == found
        assert names(snapshots) == {"first", "second", "live.json"}
