"""Markdown as it is shown."""

from convergence.markdown import table


def test_a_table_has_a_line_for_its_head_its_rule_and_each_row():
    assert table(("", "AP"), [("ours", 0.5), ("theirs", "")]) == "| | AP |\n|---|---|\n| ours | 0.5 |\n| theirs | |"


def test_floats_have_four_digits_and_nothing_is_an_empty_cell() -> None:
    assert table(("name", "value"), [("a", 0.123456), ("b", None)]).splitlines()[2:] == ["| a | 0.1235 |", "| b | |"]
