"""Promotion, rollback and canary: what the log then says, and what it refuses."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import ModelError
from convergence.lake.store import open_store
from convergence.models.kept import onnx, trees
from convergence.models.promotions import champion_as_of
from convergence.models.releasable import Candidate, Span
from convergence.models.release_log import (
    end_canary,
    newest,
    previous,
    promote,
    released,
    rollback,
    start_canary,
)
from convergence.models.releases import Release
from convergence.models.trials import tried
from convergence.versions.audit import AuditLog

NAME = "fraud_model"
SPAN = Span(date(2018, 9, 1), date(2018, 9, 1))
WHO = {"actor": "anna", "reason": "because"}


def candidate(version: str = "v1", **changes: object) -> Candidate:
    graph = f"graph of {version}".encode()
    row = {
        "event_date": date(2018, 8, 1),
        "model_version": version,
        "onnx": graph,
        "sha256": sha256(graph).hexdigest(),
        "alert_threshold": 0.5,
    }
    made = Candidate(
        row=pl.DataFrame([row]),
        view="transaction_features",
        fingerprint=f"fingerprint of {version[:2]}",
        namespace=f"transaction_features/{version[:2]}",
        gate=f"{version} passes.",
        passed=True,
    )
    return replace(made, **changes)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(open_store(str(tmp_path), {}))


def after(log: AuditLog, *versions: str) -> AuditLog:
    for version in versions:
        promote(log, NAME, candidate(version), SPAN, **WHO)
    return log


def back(log: AuditLog, to: str | None = None) -> str:
    return rollback(log, NAME, SPAN, to=to, **WHO).model_version


def test_nothing_is_released_before_the_first_promotion(log: AuditLog) -> None:
    assert newest(log, NAME) is None


def test_a_promotion_is_the_release_and_stands_in_the_log(log: AuditLog) -> None:
    made = promote(log, NAME, candidate(), SPAN, **WHO)
    assert made == newest(log, NAME) == Release(
        NAME, 1, "v1", candidate().sha256, "transaction_features", "fingerprint of v1", "transaction_features/v1"
    )  # fmt: skip
    (entry,) = log.entries(NAME)
    assert (entry.actor, entry.action, entry.detail["reason"], entry.detail["gate"]) == (
        "anna", "promote", "because", "v1 passes."
    )  # fmt: skip


def test_a_rollback_moves_model_view_and_namespace_together(log: AuditLog) -> None:
    first = promote(log, NAME, candidate("v1"), SPAN, **WHO)
    after(log, "v2")
    release = rollback(log, NAME, SPAN, **WHO)
    assert replace(release, number=first.number) == first
    assert newest(log, NAME) == release


def test_rollbacks_in_a_row_go_further_back_and_not_to_and_fro(log: AuditLog) -> None:
    after(log, "v1", "v2", "v3")
    assert [back(log), back(log)] == ["v2", "v1"]


def test_after_a_rollback_and_a_promotion_the_way_back_skips_what_was_rolled_back(log: AuditLog) -> None:
    after(log, "v1", "v2")
    back(log)
    after(log, "v3")
    assert back(log) == "v1"


def test_a_rollback_can_name_any_version_that_was_ever_released(log: AuditLog) -> None:
    after(log, "v1", "v2", "v3")
    back(log)
    assert back(log, to="v3") == "v3"
    assert back(log) == "v2"


@given(moves=st.lists(st.sampled_from(["promote", "back"]), max_size=12))
@settings(deadline=None, max_examples=25)
def test_rollbacks_undo_promotions_like_a_stack(moves: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    log = AuditLog(open_store(str(tmp_path_factory.mktemp("log")), {}))
    stack: list[str] = []
    for number, move in enumerate(moves):
        if move == "promote":
            stack.append(f"v{number}")
            after(log, stack[-1])
        elif len(stack) > 1:
            stack.pop()
            assert back(log) == stack[-1]
        else:
            with pytest.raises(ModelError):
                back(log)
    release = newest(log, NAME)
    assert (release.model_version if release else None) == (stack[-1] if stack else None)
    assert log.verify().fault is None


def test_the_way_back_can_be_told(log: AuditLog) -> None:
    after(log, "v1")
    assert previous(log, NAME) is None
    after(log, "v2", "v3")
    back(log)
    assert previous(log, NAME).model_version == "v1"  # pyright: ignore[reportOptionalMemberAccess]


def test_the_first_release_has_none_to_go_back_to(log: AuditLog) -> None:
    after(log, "v1")
    with pytest.raises(ModelError, match="v1 is the first release of fraud_model"):
        back(log)


def test_a_version_that_was_never_released_is_no_target(log: AuditLog) -> None:
    after(log, "v1", "v2")
    with pytest.raises(ModelError, match="v9 was never released as fraud_model; there were: v1, v2; nothing"):
        back(log, to="v9")


def test_the_champion_is_not_promoted_or_rolled_back_to_again(log: AuditLog) -> None:
    after(log, "v1", "v2")
    with pytest.raises(ModelError, match="v2 is the champion of fraud_model already"):
        after(log, "v2")
    with pytest.raises(ModelError, match="v2 is the champion of fraud_model already"):
        back(log, to="v2")
    assert len(log.entries()) == 2


def test_a_refused_version_is_not_promoted_and_the_attempt_is_on_record(log: AuditLog) -> None:
    after(log, "v1")
    bad = candidate("v2", passed=False, gate="v2 is refused: too slow.")
    with pytest.raises(ModelError, match=r"the gate refused v2, .*: v2 is refused: too slow"):
        promote(log, NAME, bad, SPAN, **WHO)
    assert newest(log, NAME).model_version == "v1"  # pyright: ignore[reportOptionalMemberAccess]
    assert [e.action for e in log.entries()] == ["promote", "refuse"]


def test_an_override_promotes_a_refused_version_and_says_so(log: AuditLog) -> None:
    bad = candidate("v2", passed=False, gate="v2 is refused: too slow.")
    promote(log, NAME, bad, SPAN, override="agreed with the owner", **WHO)
    (entry,) = log.entries()
    assert (entry.detail["override"], entry.detail["gate"]) == ("agreed with the owner", "v2 is refused: too slow.")


def test_one_of_two_rollbacks_at_once_goes_after_the_other(log: AuditLog) -> None:
    after(log, "v1", "v2", "v3")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: back(log), range(2)))
    assert sorted(done) == ["v1", "v2"]
    assert log.verify().fault is None


def test_a_released_model_outlives_its_table(log: AuditLog) -> None:
    after(log, "v1")
    assert onnx(log.store, candidate("v1").sha256) == b"graph of v1"


def test_a_model_that_was_made_again_alike_is_released_as_it_was_kept(log: AuditLog) -> None:
    after(log, "v1", "v2")
    again = candidate("v1", row=candidate("v1").row.with_columns(alert_threshold=0.7))
    promote(log, NAME, again, SPAN, **WHO)
    assert released(log, NAME)["alert_threshold"].to_list() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.unlink(), "is missing among the released ones: restore _models/"),
        (lambda file: file.write_bytes(b"evil"), "is not as it was when it was released"),
        (lambda file: pl.read_parquet(file).with_columns(onnx=pl.lit(b"evil")).write_parquet(file), "is not as it was"),
        (lambda file: pl.read_parquet(file).with_columns(alert_threshold=1.0).write_parquet(file), "is not as it was"),
    ],
    ids=["removed", "overwritten", "other-graph", "other-threshold"],
)
def test_a_rollback_to_a_damaged_model_is_refused_and_the_champion_stays(
    damage: Callable[[Path], object], words: str, log: AuditLog, tmp_path: Path
) -> None:
    after(log, "v1", "v2")
    damage(tmp_path / "_models" / f"{candidate('v1').sha256}.parquet")
    with pytest.raises(ModelError, match=words):
        back(log)
    assert newest(log, NAME).model_version == "v2"  # pyright: ignore[reportOptionalMemberAccess]


def test_the_names_of_a_log_do_not_mix(log: AuditLog) -> None:
    after(log, "v1", "v2")
    promote(log, "churn", candidate("c1"), SPAN, **WHO)
    with pytest.raises(ModelError):
        rollback(log, "churn", SPAN, **WHO)
    assert back(log) == "v1"


def same_view(version: str) -> Candidate:
    return candidate(version, fingerprint="fingerprint of v1", namespace="transaction_features/v1")


def test_a_canary_is_part_of_the_release_and_leaves_the_champion(log: AuditLog) -> None:
    after(log, "v1")
    release = start_canary(log, NAME, same_view("v2"), 0.05, **WHO)
    assert release.model_version == "v1"
    assert release.canary == {"model_version": "v2", "sha256": same_view("v2").sha256, "share": 0.05}


def test_the_end_of_a_canary_is_put_on_record_once(log: AuditLog) -> None:
    after(log, "v1")
    start_canary(log, NAME, same_view("v2"), 0.05, **WHO)
    for _ in range(2):  # two servers may both see it fail
        ended = end_canary(log, NAME, "v2", actor="canary", reason="12 of 40 requests failed")
        assert (ended.model_version, ended.canary, ended.number) == ("v1", None, 3)
    assert [e.action for e in log.entries()] == ["promote", "canary", "canary_end"]


def test_the_end_of_a_canary_leaves_a_later_one_of_the_same_version(log: AuditLog) -> None:
    after(log, "v1")
    first = start_canary(log, NAME, same_view("v2"), 0.05, **WHO)
    end_canary(log, NAME, "v2", **WHO)
    again = start_canary(log, NAME, same_view("v2"), 0.05, **WHO)
    assert end_canary(log, NAME, "v2", release=first.number, **WHO) == again
    assert end_canary(log, NAME, "v2", release=again.number, **WHO).canary is None


def test_the_newest_canary_is_found_with_what_ended_it(log: AuditLog) -> None:
    with pytest.raises(ModelError, match="no challenger was ever tried"):
        tried(after(log, "v1"), NAME)
    first = start_canary(log, NAME, same_view("v2"), 0.05, **WHO)
    release, begun, ended = tried(log, NAME)
    assert (release, begun.number, ended) == (first, first.number, None)
    promote(log, NAME, same_view("v2"), SPAN, **WHO)
    start_canary(log, NAME, same_view("v1"), 0.1, **WHO)
    assert tried(log, NAME)[0].canary == {"model_version": "v1", "sha256": same_view("v1").sha256, "share": 0.1}
    _, _, ended = tried(log, NAME, first.number)
    assert ended is not None
    assert (ended.action, ended.detail["release"]["model_version"]) == ("promote", "v2")
    with pytest.raises(ModelError, match="release 1 of fraud_model tried none"):
        tried(log, NAME, 1)


def test_the_trees_of_a_released_model_are_kept_with_it(log: AuditLog) -> None:
    made = candidate("v2")
    promote(log, NAME, replace(made, row=made.row.with_columns(model=pl.lit("{}"))), SPAN, **WHO)
    assert trees(log.store, made.sha256) == "{}"
    after(log, "v3")
    assert trees(log.store, candidate("v3").sha256) is None


def test_a_canary_that_is_promoted_is_none_any_more(log: AuditLog) -> None:
    after(log, "v1")
    start_canary(log, NAME, same_view("v2"), 0.05, **WHO)
    assert promote(log, NAME, same_view("v2"), SPAN, **WHO).canary is None
    assert back(log) == "v1"


def test_a_rollback_after_a_canary_goes_to_the_champion_before(log: AuditLog) -> None:
    after(log, "v1", "v2")
    start_canary(log, NAME, candidate("v3", fingerprint="fingerprint of v2", namespace="transaction_features/v2"),
                 0.05, **WHO)  # fmt: skip
    assert back(log) == "v1"
    assert newest(log, NAME).canary is None  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize(
    ("made", "share", "words"),
    [
        (candidate("v2"), 0.05, "its fingerprint, namespace differ"),
        (same_view("v2"), 1.0, "lies between 0 and 1"),
        (same_view("v2"), 0.0, "lies between 0 and 1"),
        (candidate("v1"), 0.05, "it is the champion"),
        (replace(same_view("v2"), passed=False), 0.05, "the gate refused v2"),
    ],
    ids=["other-view", "everything", "nothing", "champion", "refused"],
)
def test_what_cannot_be_tried_beside_the_champion_is_refused(
    made: Candidate, share: float, words: str, log: AuditLog
) -> None:
    after(log, "v1")
    with pytest.raises(ModelError, match=words):
        start_canary(log, NAME, made, share, **WHO)
    assert newest(log, NAME).canary is None  # pyright: ignore[reportOptionalMemberAccess]


def test_without_a_champion_there_is_no_canary(log: AuditLog) -> None:
    with pytest.raises(ModelError, match="nothing was ever released"):
        start_canary(log, NAME, candidate(), 0.05, **WHO)


def test_batch_follows_promotions_and_rollbacks_but_no_canary(log: AuditLog) -> None:
    for days, version in ((0, "v1"), (10, "v2")):
        day = SPAN.valid_from + timedelta(days=days)
        promote(log, NAME, candidate(version, fingerprint="f", namespace="n"), Span(day, day), **WHO)
    start_canary(log, NAME, candidate("v3", fingerprint="f", namespace="n"), 0.05, **WHO)
    end_canary(log, NAME, "v3", **WHO)
    day = SPAN.valid_from + timedelta(days=20)
    rollback(log, NAME, Span(day, day), **WHO)
    frame = released(log, NAME)
    assert frame["model_version"].to_list() == ["v1", "v2", "v1"]
    none = frame.clear().drop("counts_from")
    found = [champion_as_of(none, frame, SPAN.valid_from + timedelta(days=n)) for n in (9, 10, 19, 20)]
    assert [f["onnx"] for f in found] == [b"graph of v1", b"graph of v2", b"graph of v2", b"graph of v1"]
    assert frame["alert_threshold"].to_list() == [0.5] * 3


def test_a_log_without_releases_gives_no_row(log: AuditLog) -> None:
    assert released(log, NAME).is_empty()
    assert {"valid_from", "counts_from", "model_as_of"} <= set(released(log, NAME).columns)
