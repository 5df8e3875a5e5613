"""The gate of an index, and what a day holds."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from convergence_assets.semantic_search.evaluation import DENSE, FUSED, SPARSE, helped
from convergence_assets.semantic_search.images import colours
from convergence_assets.semantic_search.index import RETENTION_DAYS, as_of
from convergence_assets.semantic_search.release import LEAST_RECALL, MOST_LOST, UNJUDGED, answering, decide

DAY = date(2024, 1, 2)


def index(**change: Any) -> dict[str, Any]:
    return {"event_date": DAY, "index_version": "new", "recall_10": 1.0, **change}


def champion(**quality: float) -> dict[str, Any]:
    return {"index_version": "old", "quality": json.dumps(quality)}


def test_an_index_that_finds_what_exact_search_finds_and_lost_nothing_goes_live() -> None:
    row = decide(index(), {"cosqa": 0.6}, champion(cosqa=0.6))
    assert (row["promoted"], row["index_version"], json.loads(row["quality"])) == (True, "new", {"cosqa": 0.6})


@pytest.mark.parametrize(
    ("change", "quality", "rule"),
    [
        ({"recall_10": LEAST_RECALL - 0.01}, {"cosqa": 0.6}, "recall of exact search"),
        ({}, {"cosqa": 0.6 - MOST_LOST - 0.001}, "nDCG@10 on cosqa"),
        ({}, {}, "nDCG@10 on cosqa"),
    ],
    ids=["recall", "worse", "not judged"],
)
def test_a_broken_rule_leaves_what_answers_in_place(change: dict, quality: dict, rule: str) -> None:
    row = decide(index(**change), quality, champion(cosqa=0.6))
    assert (row["promoted"], row["index_version"]) == (False, "old")
    assert rule in row["reason"]
    assert json.loads(row["quality"]) == {"cosqa": 0.6}
    assert [r["passed"] for r in json.loads(row["gate"]) if r["rule"] == rule] == [False]


def test_quality_is_held_to_what_answers_and_not_to_what_was_refused() -> None:
    refused = decide(index(), {"cosqa": 0.4}, champion(cosqa=0.6))
    again = decide(index(index_version="next"), {"cosqa": 0.45}, refused)
    assert not again["promoted"]


def test_an_index_whose_fusion_loses_to_one_of_its_parts_does_not_go_live_however_little_was_lost() -> None:
    row = decide(index(), {"cosqa": 0.6}, champion(cosqa=0.6), loss="cosqa loses 0.0100 on 500 queries")
    assert (row["promoted"], row["index_version"]) == (False, "old")
    assert "cosqa loses" in row["reason"]


def test_the_first_index_has_nothing_to_be_worse_than() -> None:
    row = decide(index(), {"cosqa": 0.1}, None)
    assert row["promoted"]


def test_where_the_first_index_is_refused_nothing_answers() -> None:
    row = decide(index(recall_10=0.5), {"cosqa": 0.1}, None)
    assert (row["promoted"], row["index_version"], json.loads(row["quality"])) == (False, "", {})


def test_figures_of_other_encoders_or_fusions_are_no_reason_to_go_live() -> None:
    row = decide(index(), {"cosqa": 0.6}, champion(cosqa=0.6), judged=False)
    assert (row["promoted"], row["index_version"]) == (False, "old")
    assert UNJUDGED in row["reason"]


def days(*quality: float) -> list[dict[str, Any]]:
    """Decisions of one day after the other, each index judged so; one that lost too much is refused."""
    made: list[dict[str, Any]] = []
    for n, found in enumerate(quality):
        day = index(event_date=DAY + timedelta(days=n), index_version=f"v{n}")
        made.append(decide(day, {"cosqa": found}, made[-1] if made else None))
    return made


def back_to(version: str, *, after: int) -> dict[str, Any]:
    """What the audit log has of somebody who switched when that many days were decided."""
    return {"index_version": version, "day": str(DAY + timedelta(days=after)), "reason": "as before"}


@pytest.mark.parametrize(
    ("quality", "said", "expected"),
    [
        ((0.6, 0.7), [], ("v1", 0.7)),
        ((0.6, 0.7), [back_to("v0", after=1)], ("v0", 0.6)),
        ((0.6, 0.7, 0.1), [back_to("v0", after=2)], ("v0", 0.6)),
        ((0.6, 0.7, 0.1), [back_to("v2", after=2)], ("v2", 0.1)),
        ((0.6, 0.7), [back_to("v0", after=1), back_to("v1", after=1)], ("v1", 0.7)),
        ((0.6, 0.7, 0.8), [back_to("v0", after=1)], ("v2", 0.8)),
        ((0.6, 0.7), [back_to("v0", after=5)], ("v1", 0.7)),
        ((0.6, 0.7), [back_to("built elsewhere", after=1)], ("v1", 0.7)),
    ],
    ids=["nobody", "rollback", "after a refusal", "to a refused one", "there and back", "promoted since",
         "later than the day that is made again", "not among the decisions"],
)  # fmt: skip
def test_a_later_index_is_held_to_what_people_let_answer(
    quality: tuple[float, ...], said: list[dict[str, Any]], expected: tuple[str, float]
) -> None:
    found = answering(days(*quality), said)
    assert found is not None
    assert (found["index_version"], json.loads(found["quality"])) == (expected[0], {"cosqa": expected[1]})


def points(*rows: tuple[str, int, str]) -> dict[str, pl.DataFrame]:
    """Items with the day they were sent on, counted from DAY, and their content."""
    made = [
        {"item_id": item, "event_date": DAY + timedelta(days=n), "vector": [1.0], "sparse_indices": [1],
         "sparse_values": [1.0], "payload": content, "language": None, "content_hash": content, "encoder": "e",
         "event_time": datetime(2024, 1, 2, tzinfo=UTC) + timedelta(days=n),
         "arrived_at": datetime(2024, 1, 2, tzinfo=UTC) + timedelta(days=n)}
        for item, n, content in rows
    ]  # fmt: skip
    return {"text": pl.DataFrame(made)}


def test_a_day_holds_the_newest_of_each_item_that_had_come_by_then() -> None:
    sent = points(("a", 0, "first"), ("a", 2, "second"), ("b", 1, "other"))
    held = [as_of(sent, DAY + timedelta(days=n))["text"].select("item_id", "payload").rows() for n in range(3)]
    assert held == [[("a", "first")], [("a", "first"), ("b", "other")], [("a", "second"), ("b", "other")]]


def test_an_item_that_is_sent_again_as_something_else_is_no_longer_what_it_was() -> None:
    sent = {"text": points(("a", 0, "words"), ("b", 0, "words"))["text"], "code": points(("a", 1, "code"))["text"]}
    held = [{name: rows["item_id"].to_list() for name, rows in as_of(sent, DAY + timedelta(days=n)).items()}
            for n in range(2)]  # fmt: skip
    assert held == [{"text": ["a", "b"], "code": []}, {"text": ["b"], "code": ["a"]}]


def test_an_item_that_nobody_sends_again_leaves_the_index() -> None:
    sent = points(("a", 0, "first"))
    assert as_of(sent, DAY + timedelta(days=RETENTION_DAYS - 1))["text"].height == 1
    assert as_of(sent, DAY + timedelta(days=RETENTION_DAYS))["text"].height == 0


def judged(gain: float, error: float | None = 0.004, *, queries: int = 500) -> pl.DataFrame:
    rows = [(DENSE, gain, error), (SPARSE, gain + 0.2, error), (FUSED, 0.0, 0.0)]
    frame = pl.DataFrame(
        rows, schema={"candidate": pl.String, "fused_gain": pl.Float64, "fused_gain_error": pl.Float64}, orient="row"
    )
    return frame.with_columns(query_set=pl.lit("cosqa"), split=pl.lit("test"), queries=queries)


@pytest.mark.parametrize("error", [0.004, 0.1, None])
def test_a_fusion_that_loses_to_its_best_part_blocks(error: float | None) -> None:
    verdict = helped(judged(-0.01, error))
    assert not verdict.passed
    assert verdict.severity.value == "ERROR"
    assert "cosqa loses 0.0100 on 500 queries against dense" in (verdict.description or "")


def test_a_loss_on_few_queries_only_warns() -> None:
    verdict = helped(judged(-0.01, queries=20))
    assert not verdict.passed
    assert verdict.severity.value == "WARN"


@pytest.mark.parametrize("gain", [0.0, 0.01])
def test_a_fusion_that_is_as_good_as_its_best_part_passes(gain: float) -> None:
    verdict = helped(judged(gain))
    assert verdict.passed
    assert verdict.metadata["gain_cosqa"].value == gain


def test_every_loss_is_told_with_its_standard_error() -> None:
    rows = judged(-0.05, 0.1).with_columns(
        fused_gain=pl.when(candidate=SPARSE).then(-0.02).otherwise("fused_gain"),
    )
    said = helped(rows).description or ""
    assert "loses 0.0500 on 500 queries against dense (standard error 0.1000)" in said
    assert "loses 0.0200 on 500 queries against sparse (standard error 0.1000)" in said


NOT_JUDGED = {
    "without a fused ranking": judged(0.1).filter(pl.col("candidate") != FUSED),
    "one set of two": pl.concat([judged(0.1), judged(0.1).filter(candidate=DENSE).with_columns(query_set=pl.lit("b"))]),
    "a set of which no query is in the test half": pl.concat(
        [judged(0.1), judged(0.1).with_columns(query_set=pl.lit("b"), split=pl.lit("all"))]
    ),
    "a gain that is not there": judged(0.1).with_columns(fused_gain=pl.lit(None, pl.Float64)),
    "from before gains were kept": judged(0.1).drop("fused_gain"),
    "nothing": judged(0.1).clear(),
}


@pytest.mark.parametrize("rows", NOT_JUDGED.values(), ids=NOT_JUDGED)
def test_what_was_not_judged_is_no_success(rows: pl.DataFrame) -> None:
    verdict = helped(rows)
    assert not verdict.passed
    assert verdict.severity.value == "ERROR"
    assert "materialize search_quality" in (verdict.description or "")


def test_a_colour_histogram_counts_every_pixel_once() -> None:
    import numpy as np

    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :, 0] = 255
    found = colours(pixels)
    assert found.sum() == pytest.approx(1.0)
    assert sorted(found[found > 0].tolist()) == [0.5, 0.5]
