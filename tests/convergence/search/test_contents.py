"""A version is a name for content: equal whatever the order, another one for whatever differs."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import SearchError
from convergence.search.contents import difference, items_of, version_of
from tests.convergence.search.index_points import made

ABOUT = {"encoders": {"text": "e1"}, "fusion": {"text": 0.5}}


@settings(deadline=None)
@given(st.permutations(range(6)), st.booleans())
def test_equal_content_has_one_version_whatever_its_order(order: list[int], swapped: bool) -> None:
    points = {"text": made(6), "image": made(4, seed=1)}
    shuffled = {"text": made(6)[order], "image": made(4, seed=1)}
    about: dict[str, Any] = dict(reversed(ABOUT.items())) if swapped else ABOUT
    names = reversed(shuffled) if swapped else shuffled
    assert version_of({name: shuffled[name] for name in names}, about) == version_of(points, ABOUT)


@pytest.mark.parametrize(
    "other",
    [
        version_of({"text": made(5)}, ABOUT),
        version_of({"image": made(6)}, ABOUT),
        version_of({"text": made(6, encoder="e2")}, ABOUT),
        version_of({"text": made(6).with_columns(content_hash=pl.lit("x"))}, ABOUT),
        version_of({"text": made(6)}, {**ABOUT, "fusion": {"text": 0.6}}),
        version_of({"text": made(6).with_columns(payload=pl.lit("licence withdrawn"))}, ABOUT),
        version_of({"text": made(6).with_columns(language=pl.lit("ruby"))}, ABOUT),
        version_of({"text": made(6).with_columns(pl.col("event_date").dt.offset_by("1d"))}, ABOUT),
        version_of({"text": made(6).with_columns(pl.col("sparse_values").list.eval(pl.element() * 2))}, ABOUT),
    ],
    ids=["items", "modality", "encoder", "content", "settings", "shown", "language", "day", "words"],
)
def test_whatever_differs_is_another_version(other: str) -> None:
    assert version_of({"text": made(6)}, ABOUT) != other


def test_a_modality_without_points_counts_as_absent() -> None:
    assert version_of({"text": made(6), "image": made(0)}, ABOUT) == version_of({"text": made(6)}, ABOUT)


@pytest.mark.parametrize("column", ["payload", "language", "vector", "sparse_values", "event_date"])
def test_an_item_differs_if_anything_that_is_kept_of_it_does(column: str) -> None:
    points = made(6)
    changed = points.with_columns(pl.col(column).gather([5, 1, 2, 3, 4, 5]))
    before, after = (items_of({"text": rows}) for rows in (points, changed))
    found = difference(before, after, changed)
    assert (found.upserts["item_id"].to_list(), found.deletes) == ([points["item_id"][0]], [])


def test_a_difference_makes_one_set_of_items_the_other() -> None:
    before, after = made(10).head(7), made(10).tail(6)
    found = difference(items_of({"t": before}), items_of({"t": after}), after)
    assert set(found.upserts["item_id"]) == set(made(10)["item_id"].tail(3))
    assert set(found.deletes) == set(made(10)["item_id"].head(4))


def test_points_without_a_hash_are_refused_and_it_is_named() -> None:
    with pytest.raises(SearchError, match=r"lack \['content_hash'\]"):
        version_of({"text": made(3).drop("content_hash")}, ABOUT)
