import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.marked_pages import MarkerError, injected, marked

PAGE = (
    "Of <!-- numbers: rows -->1<!-- /numbers --> rows:\n\n<!-- numbers: weeks -->\n| a |\n<!-- /numbers -->\n\nEnd.\n"
)
_text = st.text(st.characters(exclude_characters="<>"), max_size=30)


def test_a_value_of_one_line_stays_in_its_sentence_and_a_table_stands_on_lines_of_its_own():
    page = injected(PAGE, {"rows": "1,200", "weeks": "| b |\n|---|"})
    assert page.startswith("Of <!-- numbers: rows -->1,200<!-- /numbers --> rows:\n\n")
    assert "\n<!-- numbers: weeks -->\n| b |\n|---|\n<!-- /numbers -->\n\nEnd.\n" in page


@given(_text, _text, st.lists(_text, min_size=2, max_size=2), st.lists(_text, min_size=2, max_size=2))
def test_only_what_is_marked_changes_and_writing_twice_is_writing_once(
    before: str, after: str, old: list[str], new: list[str]
):
    page = f"{before}<!-- numbers: a -->{old[0]}<!-- /numbers -->{after}<!-- numbers: b -->{old[1]}<!-- /numbers -->"
    values = dict(zip("ab", new, strict=True))
    once = injected(page, values)
    bare = re.compile("-->[^<]*<!-- /")
    assert bare.sub("", once) == bare.sub("", page)
    assert injected(once, values) == once
    assert injected(injected(page, {"a": "x", "b": "y"}), values) == once


def test_a_marker_that_nobody_gives_a_value_is_named_with_those_that_are_known():
    with pytest.raises(MarkerError, match=r"weeks.*expected markers are rows"):
        injected(PAGE, {"rows": "1"})


@pytest.mark.parametrize(
    "page",
    ["<!-- numbers: a -->1", "1<!-- /numbers -->", "<!-- numbers: a --><!-- numbers: b -->1<!-- /numbers -->",
     "<!-- numbers:a -->1<!-- /numbers -->"],
    ids=["not closed", "not opened", "nested", "misspelt"],
)  # fmt: skip
def test_a_marker_without_its_counterpart_is_refused(page: str):
    with pytest.raises(MarkerError, match="left over"):
        marked(page)
