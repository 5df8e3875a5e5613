"""Whom a text names that is no row yet: each value and word of it, and of numbers those that stand for somebody."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.arrivals.erased import ids_in, texts_of

WHO = "7590-VHVEG"
FIELDS = {"customerID", "customer_id"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps({"customerID": WHO, "tenure": 1}), id="under its name"),
        pytest.param(json.dumps({"CustomerId": WHO, "tenure": 1}), id="under another name"),
        pytest.param(json.dumps({"customerID": "5575-GNVDE", "friend": {"of": [WHO]}}), id="beside somebody else"),
        pytest.param(json.dumps({WHO: {"tenure": 1}}), id="as a key"),
        pytest.param(json.dumps({"row": f"{WHO};Female;0"}), id="within a value"),
        pytest.param(f'{{"customerID": "{WHO}", "customerID": "5575-GNVDE"}}', id="a key twice"),
        pytest.param(f'{{"customerID": "7590\\u002dVHVEG", "tenure": {"[" * 2000}', id="escaped in what is no JSON"),
        pytest.param(f"customerID;gender\n{WHO};Female", id="semicolons"),
        pytest.param(f"file {WHO}.csv", id="a name of a file"),
        pytest.param(f"It was {WHO}.", id="the end of a sentence"),
        pytest.param(f"no UTF-8, in hex: {f'{WHO};é'.encode('latin-1').hex()}", id="in hex"),
        pytest.param(f"no UTF-8, in hex: {WHO.encode('utf-16').hex()}", id="UTF-16 in hex"),
        pytest.param(f"no value, of key: no UTF-8, in hex: {f'é;{WHO}'.encode('latin-1').hex()}", id="a key in hex"),
        pytest.param(json.dumps({"words": {"no UTF-8, escaped": f"\\xa7{WHO}"}}), id="bytes in a row"),
        pytest.param("".join(f"\\x{byte:02x}" for byte in WHO.encode()), id="every byte escaped"),
        pytest.param("\\xff\\xfe" + "".join(f"{c}\\x00" for c in WHO), id="UTF-16, escaped"),
        pytest.param("".join(f"{c}\0" for c in WHO), id="UTF-16, as it came"),
        pytest.param(WHO.encode("utf-16-be"), id="bytes"),
    ],
)
def test_a_text_names_whoever_stands_in_it_as_a_value_or_a_word(text: str | bytes) -> None:
    assert WHO in ids_in(text, FIELDS)


@pytest.mark.parametrize("text", ["7590-VHVEGX", "x7590-VHVEG", json.dumps({"customerID": "17590-VHVEG"}), "7590-VHVE"])
def test_a_part_of_a_longer_word_is_nobody(text: str) -> None:
    assert WHO not in ids_in(text, FIELDS)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (json.dumps({"customer_id": 596, "amount": 12}), True),
        (json.dumps({"customer_id": "596.0"}), True),
        (json.dumps({"customer_id": 12, "amount": 596, "terminal": "596"}), False),
        ('{"customer_id": 12, "customer_id": 596}', True),
        (json.dumps({"CustomerId": 596, "amount": 12}), True),
        (json.dumps({"customer_id": None, "who": "customer 596"}), True),
        (json.dumps({"customer_id": "unknown", "other": 596}), True),
        ("1;596;2018-04-01T00:00:31;57.16", True),
        ("596,not,a,row", True),
        ("1;12;2018-04-01T05:59:06;59.60;5960", False),
        ("paid 1596 and 596.32 on 2018-05-96", False),
    ],
)
def test_a_number_is_somebody_only_where_no_field_says_whom_a_row_names(text: str, named: bool) -> None:
    assert ("596" in ids_in(text, FIELDS)) is named


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=8,
    ),
    st.data(),
)
def test_an_id_is_found_wherever_it_stands_in_any_json(document: object, data: st.DataObject) -> None:
    def put(into: object) -> object:
        if isinstance(into, list) and into:
            at = data.draw(st.integers(0, len(into) - 1))
            return [put(each) if n == at else each for n, each in enumerate(into)]
        if isinstance(into, dict) and into:
            at = data.draw(st.sampled_from(sorted(into)))
            return {key: put(each) if key == at else each for key, each in into.items()}
        return data.draw(st.sampled_from([WHO, f" {WHO}\n", f"of {WHO};", [WHO], {"x": WHO}, {WHO: 1}]))

    assert WHO in ids_in(json.dumps(put(document)), FIELDS)


@given(st.text() | st.binary())
def test_no_text_is_too_odd_to_be_looked_through(text: str | bytes) -> None:
    assert all(one.encode() for one in ids_in(text, FIELDS))


def test_a_rejected_message_is_looked_through_in_every_column_that_holds_what_came() -> None:
    rejected = pl.DataFrame({"source": ["x"], "offset": [0], "reason": ["y"], "row": ["z"], "key": [b"k"]})

    assert texts_of(rejected).columns == ["row", "key"]
