"""Items without repeats, the hash of their content, and images that are taken in or set aside."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import FetchRefused, ImageRefused
from convergence.lake.contracts import schema_of
from convergence.objects.intake import Taken
from convergence_assets.semantic_search.contracts import RawItem, SearchItem
from convergence_assets.semantic_search.items import item_rows, newest, taken_in

DAY = date(2024, 1, 1)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
CONTENT = {
    "modality": "code",
    "title": "f",
    "text": "says",
    "code": "def f(): ...",
    "object_uri": None,
    "object_sha256": None,
}


def raw(*changes: dict[str, Any]) -> pl.LazyFrame:
    rows = [
        {"event_date": DAY, "event_time": NOON, "arrived_at": NOON, "item_id": "a", **CONTENT, "language": "python",
         "parent_id": None, "licence": None, "source": "s", "offset": n, **change}
        for n, change in enumerate(changes)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema_of(RawItem)).lazy()


def hash_of(**change: Any) -> str:
    return item_rows(raw(change)).collect()["content_hash"].item()


def test_a_repeat_is_dropped_and_of_corrections_the_last_to_arrive_wins() -> None:
    later = {"arrived_at": NOON + timedelta(hours=1), "code": "def f(): return 1"}
    rows = item_rows(raw(later, {}, {})).collect()
    assert rows["code"].to_list() == ["def f(): return 1"]
    assert rows.columns == schema_of(SearchItem).names()


def test_languages_are_in_lower_case() -> None:
    rows = item_rows(raw({"language": "Python"}, {"item_id": "b", "language": None})).collect()
    assert rows["language"].to_list() == ["python", None]


def test_of_items_sent_on_several_days_the_newest_counts() -> None:
    sent = pl.DataFrame({"item_id": ["b", "a", "a"], "event_time": [1, 2, 3], "arrived_at": [9, 9, 1], "n": [0, 1, 2]})
    assert newest(sent.lazy()).collect().select("item_id", "n").rows() == [("a", 2), ("b", 0)]


def test_equal_content_has_one_hash_whatever_else_is_said_of_it() -> None:
    assert hash_of() == hash_of(item_id="b", licence="MIT", language="java", parent_id="c")


@given(st.sampled_from(["title", "text", "code"]), st.text(max_size=5))
def test_other_content_has_another_hash(column: str, value: str) -> None:
    assert (hash_of(**{column: value}) == hash_of()) == (value == CONTENT[column])


def test_a_text_does_not_pass_for_the_next_columns() -> None:
    assert hash_of(title="ab", text="c") != hash_of(title="a", text="bc")
    assert hash_of(text=None) != hash_of(text="")


def test_an_image_that_is_refused_is_set_aside_with_its_reason_and_the_others_go_on() -> None:
    items = item_rows(
        raw(*({"item_id": name, "modality": "image", "object_uri": name} for name in ("bad", "far", "good")))
    ).collect()

    def take(uri: str, _: str | None) -> Taken:
        if uri == "bad":
            raise ImageRefused("truncated")
        if uri == "far":
            raise FetchRefused("a host that is not allowed")
        return Taken("a" * 64, "b" * 64, "PNG", 3, 4, 5, True)

    rows, aside, new = taken_in(items, take)
    assert rows.select("item_id", "sha256", "width", "bytes").rows() == [("good", "a" * 64, 3, 5)]
    assert sorted(aside["reason"]) == ["a host that is not allowed", "truncated"]
    assert aside["event_date"].to_list() == [DAY, DAY]
    assert new == 1
