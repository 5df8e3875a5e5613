import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convergence.errors import LakeError, ModelError
from convergence.features.online_store import OnlineStoreError
from convergence.models.releases import Release
from convergence.models.stored import Scorer, load
from convergence.serving.champion import Champion, Trial
from tests.convergence.serving.service import model, sha256

FEATURES = ("a", "b")
GOOD, BETTER = model(FEATURES), model(FEATURES, scale=1e-6)
BLOBS = {sha256(blob): blob for blob in (GOOD, BETTER)}


def release(blob: bytes, number: int = 1, **changes: Any) -> Release:
    made = Release("m", number, f"v{number}", sha256(blob), "view", "print", "view/print")
    return replace(made, **changes)


class World:
    """What is released and stored, to be changed between two looks."""

    def __init__(self) -> None:
        self.release: Release | None = release(GOOD)
        self.namespace: str | None = "view/print/1"
        self.blobs = dict(BLOBS)
        self.loads = 0
        self.broken: Exception | None = None
        self.ended: list[tuple[int, str]] = []
        self.champion = Champion(self.released, self.load, lambda: self.namespace, "print", self.end)

    def released(self) -> Release | None:
        return self.release

    def load(self, release: Release) -> Scorer:
        self.loads += 1
        return load(self.blobs[release.sha256], sha256=release.sha256, features=FEATURES)

    def end(self, release: Release, reason: str) -> None:
        if self.broken:
            raise self.broken
        self.ended.append((release.number, reason))

    def look(self) -> str | None:
        self.champion.refresh()
        return self.champion.serving and self.champion.serving.release.model_version


def test_a_new_release_is_loaded_once_and_swapped_in() -> None:
    world = World()
    assert [world.look(), world.look()] == ["v1", "v1"]
    world.release = release(BETTER, 2)
    assert [world.look(), world.look()] == ["v2", "v2"]
    assert world.loads == 2
    world.release = release(GOOD, 3)
    assert world.look() == "v3"


REFUSED = {
    "truncated": (lambda b: b[: len(b) // 2], {}),
    "other bytes": (lambda _: model(FEATURES, scale=1.0), {}),
    "pickle": (lambda _: b"\x80\x04cos\nsystem\n(S'true'\ntR.", {}),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_a_model_that_is_not_the_one_released_is_refused_and_the_champion_goes_on(damage: str) -> None:
    world = World()
    world.look()
    change, _ = REFUSED[damage]
    world.release = release(BETTER, 2)
    world.blobs[sha256(BETTER)] = change(BETTER)
    assert [world.look(), world.look()] == ["v1", "v1"]
    assert "expected sha256" in str(world.champion.refused)
    assert world.loads == 2  # it is not tried over and over
    world.blobs[sha256(BETTER)] = BETTER
    world.release = release(BETTER, 3)
    assert (world.look(), world.champion.refused) == ("v3", None)


OTHERS = {
    "order of features": model(("b", "a")),
    "missing feature": model(("a",)),
    "no probability": model(FEATURES)[:10] + b"broken",
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_model_of_another_form_is_refused_by_its_right_hash_too(other: str) -> None:
    world = World()
    world.look()
    blob = OTHERS[other]
    world.blobs[sha256(blob)] = blob
    world.release = release(blob, 2)
    assert world.look() == "v1"
    assert world.champion.refusals == 1


def test_a_model_that_answers_no_probability_is_refused() -> None:
    class Wrong:
        features, sha256 = FEATURES, sha256(BETTER)

        def score(self, values: np.ndarray) -> np.ndarray:
            return np.full(len(values), np.nan)

    world = World()
    world.look()
    champion = Champion(lambda: release(BETTER, 2), lambda _: Wrong(), lambda: None, "print", world.end)
    champion.serving = world.champion.serving
    champion.refresh()
    assert champion.serving.release.number == 1  # pyright: ignore[reportOptionalMemberAccess]
    assert "not a probability" in str(champion.refused)


def test_a_release_of_another_view_version_is_refused() -> None:
    world = World()
    world.look()
    world.release = release(BETTER, 2, fingerprint="other")
    assert world.look() == "v1"
    assert "start the server from the code of that release" in str(world.champion.refused)


def test_a_refusal_is_said_again_when_something_else_has_passed() -> None:
    world = World()
    world.release = release(BETTER, 2, fingerprint="other")
    world.look()
    why, works = world.champion.refused, world.champion._released
    world.champion._released = lambda: 1 / 0  # pyright: ignore[reportAttributeAccessIssue]
    world.look()
    assert world.champion.refused != why
    world.champion._released = works
    world.look()
    assert (world.champion.refused, world.champion.refusals) == (why, 1)


def test_a_refused_release_that_is_taken_back_leaves_no_alarm() -> None:
    world = World()
    world.look()
    world.release = release(BETTER, 2, fingerprint="other")
    world.look()
    world.release = release(GOOD)
    assert (world.look(), world.champion.refused) == ("v1", None)


def test_a_new_namespace_is_followed_without_loading_the_model_again() -> None:
    world = World()
    world.look()
    world.namespace = "view/print/2"
    world.look()
    assert world.champion.serving.namespace == "view/print/2"  # pyright: ignore[reportOptionalMemberAccess]
    assert world.loads == 1


def test_a_source_that_cannot_be_read_changes_nothing_and_is_read_again() -> None:
    world = World()
    world.look()
    broken = Champion(world.released, world.load, lambda: None, "print", world.end)

    def failing(_: Release) -> Scorer:
        raise LakeError("the bucket does not answer")

    broken._load = failing  # the lake, not the model
    broken.refresh()
    assert broken.serving is None
    broken._load = world.load
    broken.refresh()
    assert broken.serving is not None
    assert broken.refused is None


def test_nothing_released_is_said() -> None:
    world = World()
    world.release = None
    assert world.look() is None
    assert "promote a model first" in str(world.champion.refused)


def test_a_damaged_record_leaves_the_champion() -> None:
    world = World()
    world.look()

    def damaged() -> Release:
        raise ModelError("not a release record")

    world.champion._released = damaged
    assert world.look() == "v1"
    assert world.champion.refused == "not a release record"


def trying(number: int = 2, blob: bytes = BETTER) -> Release:
    return release(GOOD, number, canary={"model_version": "next", "sha256": sha256(blob), "share": 0.5})


def verdict(world: World) -> None:
    """Let the guards find that the challenger fails."""
    canary = trial(world).canary
    for _ in range(50):
        canary.observe("challenger", 0.0, error=RuntimeError("out of memory"))
        canary.observe("champion", 0.0, 0.1)


def trial(world: World) -> Trial:
    serving = world.champion.serving
    assert serving is not None
    assert serving.trial is not None
    return serving.trial


def test_a_challenger_is_loaded_beside_the_champion_by_its_own_hash_and_kept_while_it_is_tried() -> None:
    world = World()
    world.release = trying()
    assert world.look() == "v2"
    first = trial(world)
    assert (first.scorer.sha256, first.canary.challenger, first.canary.shares["challenger"]) == (
        sha256(BETTER), "next", 0.5,
    )  # fmt: skip
    world.namespace = "view/print/2"
    world.look()
    assert trial(world) is first
    world.release = release(GOOD, 3)
    world.look()
    assert world.champion.serving.trial is None  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("damage", REFUSED)
def test_a_challenger_that_is_not_the_one_released_is_refused_once_and_the_champion_serves_all(damage: str) -> None:
    world = World()
    world.blobs[sha256(BETTER)] = REFUSED[damage][0](BETTER)
    world.release = trying()
    assert [world.look(), world.look()] == ["v2", "v2"]
    assert world.champion.serving.trial is None  # pyright: ignore[reportOptionalMemberAccess]
    assert "expected sha256" in str(world.champion.challenger_refused)
    assert world.champion.refused is None
    assert world.loads == 2
    world.release = release(GOOD, 3)
    world.look()
    assert world.champion.challenger_refused is None


def test_a_challenger_that_cannot_be_read_now_is_tried_as_soon_as_it_can_be() -> None:
    world = World()
    world.release = trying()
    blob = world.blobs.pop(sha256(BETTER))
    world.look()
    assert world.champion.challenger_refused is not None
    world.blobs[sha256(BETTER)] = blob
    world.look()
    assert trial(world).canary.challenger == "next"
    assert world.champion.challenger_refused is None


def test_a_verdict_is_put_on_record_once() -> None:
    world = World()
    world.release = trying()
    world.look()
    assert world.ended == []
    verdict(world)
    world.look()
    world.look()
    ((number, reason),) = world.ended
    assert number == 2
    assert "answers of next failed" in reason


def test_a_verdict_that_cannot_be_recorded_is_tried_again_and_said_meanwhile() -> None:
    world = World()
    world.release = trying()
    world.look()
    verdict(world)
    world.broken = OSError("disk full")
    assert [world.look(), world.look()] == ["v2", "v2"]
    assert world.champion.unrecorded == "disk full"
    world.broken = None
    world.look()
    assert (len(world.ended), world.champion.unrecorded) == (1, None)


def test_a_verdict_of_the_last_moment_is_recorded_when_the_server_stops() -> None:
    world = World()
    world.release = trying()
    world.look()
    verdict(world)
    world.champion.stop()
    assert len(world.ended) == 1


def test_a_verdict_holds_when_an_old_record_comes_back() -> None:
    world = World()
    world.release = trying()
    world.look()
    verdict(world)
    world.release = release(GOOD, 3)
    world.look()
    world.release = trying()
    world.look()
    assert trial(world).canary.verdict is not None


def no_store() -> str:
    raise OnlineStoreError("the online store does not answer")


def test_a_store_that_does_not_answer_is_no_refusal_and_the_namespace_stays() -> None:
    world = World()
    world.look()
    world.champion._namespace = no_store
    assert (world.look(), world.champion.refused) == ("v1", None)
    world.release = release(BETTER, 2)
    assert (world.look(), world.champion.refused) == ("v2", None)
    assert "does not answer" in str(world.champion.storeless)
    assert world.champion.serving.namespace == "view/print/1"  # pyright: ignore[reportOptionalMemberAccess]
    world.champion._namespace = lambda: "view/print/2"
    world.look()
    assert world.champion.storeless is None
    assert world.champion.serving.namespace == "view/print/2"  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("step", ["_released", "_load", "_namespace"])
def test_whatever_keeps_a_release_from_being_followed_is_noted_and_tried_again(
    step: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise FileNotFoundError("part-0.parquet")

    world = World()
    world.look()
    world.release = release(BETTER, 2)
    works = getattr(world.champion, step)
    setattr(world.champion, step, broken)
    assert [world.look(), world.look()] == ["v1", "v1"]
    assert world.champion.refused == "FileNotFoundError: part-0.parquet"
    assert len(caplog.records) == 1
    setattr(world.champion, step, works)
    assert (world.look(), world.champion.refused) == ("v2", None)


def test_a_server_whose_first_look_fails_starts_and_looks_again() -> None:
    world = World()
    works, world.champion._released = world.champion._released, lambda: 1 / 0  # pyright: ignore[reportAttributeAccessIssue]
    world.champion.start()
    try:
        assert "ZeroDivisionError" in str(world.champion.refused)
        world.champion._released = works
        deadline = time.monotonic() + 30
        while world.champion.serving is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        world.champion.stop()
