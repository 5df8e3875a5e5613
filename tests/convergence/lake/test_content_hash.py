from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convergence.errors import LakeError
from convergence.lake.content_hash import EMPTY, add_hashes, content_hash
from tests.convergence.lake.frames import cells_of, every_type, frames

NAN = float("nan")


def digest(*values: Any, dtype: Any = None) -> str:
    return content_hash(pl.DataFrame({"value": pl.Series(values, dtype=dtype)}))


@settings(max_examples=50, deadline=None)
@given(frames(least=2), st.randoms(use_true_random=False))
def test_row_order_changes_nothing(frame: pl.DataFrame, random: Any):
    order = list(range(frame.height))
    random.shuffle(order)

    assert content_hash(frame[order]) == content_hash(frame)


@settings(max_examples=50, deadline=None)
@given(frames(), st.integers(0, 8))
def test_appending_rows_adds_their_hash(frame: pl.DataFrame, cut: int):
    assert add_hashes(content_hash(frame[:cut]), content_hash(frame[cut:])) == content_hash(frame)


@settings(max_examples=50, deadline=None)
@given(frames(), st.integers(0, 8))
def test_chunks_in_memory_change_nothing(frame: pl.DataFrame, cut: int):
    chunked = pl.concat([frame[:cut], frame[cut:]], rechunk=False)

    assert content_hash(chunked) == content_hash(frame)


def test_the_order_of_columns_changes_nothing():
    frame = every_type()

    assert content_hash(frame.select(reversed(frame.columns))) == content_hash(frame)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changing_any_one_cell_changes_the_hash(data: st.DataObject):
    frame = data.draw(frames(least=1))
    column = data.draw(st.sampled_from(frame.columns))
    row = data.draw(st.integers(0, frame.height - 1))
    cells = frame[column].to_list()
    changed = data.draw(st.none() | cells_of(column))
    assume(not same(cells[row], changed))
    cells[row] = changed

    other = frame.with_columns(pl.Series(column, cells, dtype=frame.schema[column]))

    assert content_hash(other) != content_hash(frame)


def same(left: Any, right: Any) -> bool:
    """Whether two cells are one value to the hash: any NaN is the same, and so are both zeros."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or (left != left and right != right)  # noqa: PLR0124 - NaN


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(), st.integers()), min_size=1, max_size=5))
def test_swapping_the_values_of_two_columns_changes_the_hash(pairs: list[tuple[int, int]]):
    pairs = [(a % 2**63, b % 2**63) for a, b in pairs]
    assume(sorted(pairs) != sorted((b, a) for a, b in pairs))
    frame = pl.DataFrame(pairs, schema={"a": pl.Int64, "b": pl.Int64}, orient="row")

    assert content_hash(frame.rename({"a": "b", "b": "a"})) != content_hash(frame)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 3), max_size=6))
def test_two_bags_of_rows_have_one_hash_only_if_they_are_one_bag(left: list[int], right: list[int]):
    assert (digest(*left, dtype=pl.Int64) == digest(*right, dtype=pl.Int64)) == (sorted(left) == sorted(right))


def test_neighbouring_rows_and_pairs_of_rows_all_have_hashes_of_their_own():
    rows = {digest(n) for n in range(500)}
    pairs = {digest(n, 1_000 - n) for n in range(500)}

    assert len(rows | pairs) == 1_000


@pytest.mark.parametrize("kind", [pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64])
def test_integers_of_any_width_are_one_value(kind: Any):
    assert digest(1, None, 127, dtype=kind) == digest(1, None, 127, dtype=pl.Int64)


def test_single_and_double_precision_are_one_value():
    assert digest(1.5, None, NAN, dtype=pl.Float32) == digest(1.5, None, NAN, dtype=pl.Float64)


def test_both_zeros_are_one_value():
    assert digest(-0.0) == digest(0.0)
    assert digest([-0.0]) == digest([0.0])


def test_every_nan_is_one_value_and_no_null():
    payload = np.array([0xFFF8_0000_0000_0001], np.uint64).view(np.float64)[0]

    assert digest(payload) == digest(NAN)
    assert digest(NAN) != digest(None, dtype=pl.Float64)
    assert digest([NAN]) != digest([None], dtype=pl.List(pl.Float64))


def test_infinity_is_a_value_in_a_list_too():
    assert len({digest([v]) for v in (float("inf"), float("-inf"), NAN, 0.0)}) == 4


def test_a_column_of_nulls_counts_as_no_column():
    frame = pl.DataFrame({"value": [1, 2]})

    assert content_hash(frame.with_columns(new=pl.lit(None, pl.String))) == content_hash(frame)


def test_null_and_the_empty_or_zero_value_differ():
    for value, kind in [(0, pl.Int64), ("", pl.String), (False, pl.Boolean), ([], pl.List(pl.Int64))]:
        assert digest(value, dtype=kind) != digest(None, dtype=kind)


def test_a_category_is_its_text():
    texts = digest("a", None, "b", dtype=pl.String)

    assert digest("a", None, "b", dtype=pl.Categorical) == digest("a", None, "b", dtype=pl.Enum(["b", "a"])) == texts


def test_an_instant_is_one_value_in_every_unit_and_zone():
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    units = {digest(noon, None, dtype=pl.Datetime(unit, "UTC")) for unit in ("ms", "us", "ns")}
    amsterdam = pl.Series("value", [noon, None]).dt.convert_time_zone("Europe/Amsterdam").to_frame()

    assert units == {content_hash(amsterdam)}


def test_a_fixed_size_array_is_its_list():
    array = pl.Series([[1.0, NAN], None], dtype=pl.Array(pl.Float32, 2))

    assert digest(*array.to_list(), dtype=array.dtype) == digest([1.0, NAN], None, dtype=pl.List(pl.Float64))


def test_lists_differ_by_order_length_and_nesting():
    lists = [[], [1], [1, 1], [1, 2], [2, 1], [1, None], [None, 1], [None], [None, None], None]
    nested = [[[1], [2]], [[1, 2]], [[], [1, 2]], [[1, 2], []], [[2], [1]]]

    assert len({digest(v, dtype=pl.List(pl.Int64)) for v in lists}) == len(lists)
    assert len({digest(v) for v in nested}) == len(nested)


def test_items_do_not_wander_between_the_lists_of_neighbouring_rows():
    assert digest([1, 2], [3]) != digest([1], [2, 3])


def test_a_struct_differs_by_field_and_from_null():
    kind = pl.Struct({"a": pl.Int64, "b": pl.Int64})
    structs = [{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1, "b": None}, {"a": None, "b": None}, None]

    assert len({digest(v, dtype=kind) for v in structs}) == len(structs)


def test_no_rows_hash_to_the_empty_hash_whatever_their_columns():
    assert content_hash(every_type().head(0)) == content_hash(pl.DataFrame()) == EMPTY


def test_adding_the_empty_hash_changes_nothing():
    held = content_hash(every_type())

    assert add_hashes(held, EMPTY) == held


def test_hashes_of_another_algorithm_are_refused():
    with pytest.raises(LakeError, match="'md5' cannot be added to 'sum128'"):
        add_hashes(EMPTY, "md5:1:00")


def test_more_rows_than_one_buffer_hash_like_their_parts():
    frame = pl.DataFrame({"value": range(20_000), "text": [str(n % 100) for n in range(20_000)]})

    assert add_hashes(content_hash(frame[:8_192]), content_hash(frame[8_192:])) == content_hash(frame)


GOLDEN = {
    "event_date": "96327f415bbc93dbecea85fb7b2aab9b",
    "int8": "c99c102af3a3c0277f98a39914b2920d",
    "int16": "8b5d7c502a1eafc70b27fd77d14f830c",
    "int32": "8a54ff09cddd6931da5d5881a66edbf9",
    "int64": "f73d1e029d23463fe0d217a28e2ee274",
    "float32": "f4ab41676ec5c43339447aa7c0c84964",
    "float64": "72f7563eedc276119222c4bdd314c45e",
    "decimal": "e75cbf309c9e70f4387244848509c532",
    "boolean": "aaff2eb24ca951dcd7d375a91313a974",
    "string": "1950e2aea200c118a97bc73f8502e09b",
    "binary": "7f06eac869ecd757276e4cfbb3c04b2a",
    "categorical": "1513d7ece02b05e7c9e95f7e4ad35c91",
    "date": "8a8e2bd2bfcd39b03cdf0420e3f75202",
    "microseconds": "51ccc5c640c436760877e369a18bbc3b",
    "milliseconds": "85b8ebbeb363a1cc54974bd54749acb7",
    "list": "38b0d5a7d9071b3407843d89f2f3dc04",
    "floats": "0841b35bb0a4512800da3ffbb25b3b75",
    "struct": "01215cf2103436c8edd0af1c7b7ab338",
    "structs": "7ca9a27c1ce70bc6c0db206f4b88ccf8",
    "bytes": "9917b90378221a3ee1030583172702dd",
}
WHOLE_FRAME = "sum128:3:7f8e63d2bbf22e215e7623e91a89d570"


def test_the_hash_of_a_fixed_frame_of_every_type_never_changes():
    """If an upgrade changes one of these, every partition will count as changed: rename ALGORITHM along with it."""
    frame = every_type()

    found = {name: content_hash(frame.select(name)).removeprefix("sum128:3:") for name in frame.columns}

    assert found == GOLDEN
    assert content_hash(frame) == WHOLE_FRAME
