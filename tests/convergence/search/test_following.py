"""What answers while the live index changes: threads that search all the time, and switches in between."""

import gc
import threading
import time
import weakref
from itertools import pairwise

import numpy as np
import pytest

from convergence.errors import IndexMissing, SearchError
from convergence.search.alias import ALIAS
from convergence.search.answer_cache import AnswerCache
from convergence.search.following import POLL, Searching
from convergence.search.query import Picture, Query
from convergence.search.searching import Searcher
from tests.convergence.search.small_world import World, encoders, squares


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("home"))


@pytest.fixture
def world(built: World) -> World:
    """Snapshots are shared by the tests, for they never change; what is live is not."""
    (built.snapshots.root / ALIAS).unlink(missing_ok=True)
    built.known.clear()
    return built


def open_folders(world: World) -> int:
    return len([folder for folder in world.snapshots.root.iterdir() if folder.name.startswith((".open", "open"))])


def test_without_a_live_index_it_says_what_to_build(world: World) -> None:
    searching = world.searching()
    searching.refresh()
    with pytest.raises(IndexMissing, match="convergence demo --use-case NAME"), searching.searcher():
        pass
    assert searching.state().version is None


def test_requests_during_switches_are_all_answered_each_by_one_snapshot_with_its_own_encoders(world: World) -> None:
    versions = [world.build(squares(world.objects, 3)), world.build(squares(world.objects, 6), encoders("odd"))]
    sizes = dict(zip(versions, (9, 18), strict=True))
    world.release(versions[0])
    searching = world.searching()
    searching.refresh()
    answers: list[tuple[str, str, int]] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                with searching.searcher() as searcher:
                    first = searcher.search(Query(text="red"))
                    second = searcher.search(Query(text="numbers"))
                assert first.version == second.version
                answers.append((first.version, second.version, second.total))
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(1, 8):
        world.release(versions[n % 2])
        searching.refresh()
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    searching.stop()
    assert failures == []
    assert {answer[0] for answer in answers} == set(versions)
    assert all(total == sizes[version] for version, _, total in answers)
    assert open_folders(world) == 0


def test_the_snapshot_before_is_closed_when_its_last_request_has_ended_and_not_sooner(world: World) -> None:
    old, new = world.build(squares(world.objects, 3)), world.build(squares(world.objects, 6))
    world.release(old)
    closed: list[str] = []

    def opened(version: str) -> Searcher:
        searcher = world.searcher(version)
        close = searcher.close
        searcher.close = lambda: (closed.append(version), close())[1]
        return searcher

    searching = Searching(lambda: there.version if (there := world.snapshots.live()) else None, opened)
    searching.refresh()
    with searching.searcher() as one, searching.searcher() as two:
        world.release(new)
        searching.refresh()
        assert closed == []
        assert one is two
        assert one.search(Query(text="red")).version == old
        with searching.searcher() as three:
            assert three.search(Query(text="red")).version == new
    assert closed == [old]
    searching.stop()
    assert closed == [old, new]


def test_an_index_that_cannot_be_opened_is_refused_and_the_one_before_goes_on(world: World) -> None:
    good, bad = world.build(squares(world.objects, 3)), world.build(squares(world.objects, 6), encoders("odd"))
    world.release(good)
    searching = world.searching()
    searching.refresh()
    world.known = {key: one for key, one in world.known.items() if one.digest not in _digests(encoders("odd"))}
    world.release(bad)
    searching.refresh()
    state = searching.state()
    assert state.version == good
    assert state.refused
    with searching.searcher() as searcher:
        assert searcher.search(Query(text="red")).version == good
    world.release(good)
    searching.refresh()
    assert searching.state().refused is None
    searching.stop()


def test_what_nobody_expected_is_told_without_the_folders_of_this_machine(world: World) -> None:
    (world.snapshots.root / ALIAS).mkdir()
    searching = world.searching()
    searching.refresh()
    (world.snapshots.root / ALIAS).rmdir()
    assert "IsADirectoryError" in (searching.refused or "")
    assert str(world.snapshots.root) not in (searching.refused or "")


def _digests(of: dict) -> set[str]:
    return {one.digest for one in of.values()}


def test_it_follows_by_itself_and_looks_at_most_once_a_second(world: World) -> None:
    version = world.build(squares(world.objects, 3))
    looks: list[float] = []

    def live() -> str | None:
        looks.append(time.monotonic())
        there = world.snapshots.live()
        return there.version if there else None

    searching = Searching(live, world.searcher)
    searching.start()
    world.release(version)
    deadline = time.monotonic() + 20
    while searching.state().version is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert searching.state().version == version
    searching.stop()
    assert len(looks) >= 2
    assert all(after - before >= POLL * 0.9 for before, after in pairwise(looks))


def test_an_answer_is_kept_for_its_snapshot_alone(world: World) -> None:
    old, new = world.build(squares(world.objects, 3)), world.build(squares(world.objects, 6))
    known: list[bool] = []
    cache = AnswerCache(known.append)
    first, second = world.searcher(old), world.searcher(new)
    totals = [cache.search(searcher, Query(text="red")).total for searcher in (first, first, second, second, first)]
    assert totals == [9, 9, 18, 18, 9]
    assert known == [False, True, False, True, True]
    for searcher in (first, second):
        searcher.close()


def test_the_cache_keeps_the_answers_that_were_asked_for_last(world: World) -> None:
    known: list[bool] = []
    cache = AnswerCache(known.append, most=2)
    searcher = world.searcher(world.build(squares(world.objects, 3)))
    for text in ("a", "b", "a", "c", "a", "b"):
        cache.search(searcher, Query(text=text))
    assert known == [False, False, True, False, True, False]
    searcher.close()


def test_an_uploaded_picture_is_not_kept_with_its_answer(world: World) -> None:
    cache, searcher = AnswerCache(), world.searcher(world.build(squares(world.objects, 3)))

    def asked() -> weakref.ref:
        def pixels() -> np.ndarray:
            return np.zeros((4, 4, 3), np.uint8) + 9

        query = Query(image=Picture("0" * 64, pixels))
        assert cache.search(searcher, query) is cache.search(searcher, query)
        return weakref.ref(pixels)

    left = asked()
    gc.collect()
    assert left() is None
    searcher.close()


def test_a_question_that_fails_is_not_kept(world: World) -> None:
    known: list[bool] = []
    cache = AnswerCache(known.append)
    searcher = world.searcher(world.build(squares(world.objects, 3)))
    for _ in range(2):
        with pytest.raises(SearchError):
            cache.search(searcher, Query(text="a", modalities=("sound",)))
    assert known == [False, False]
    searcher.close()
