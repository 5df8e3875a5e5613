"""The page of the benchmarks: each section as it was last measured."""

from benchmarks.__main__ import REPORT, replaced, text
from benchmarks.measure import Row, Section

MEASURED = Section("Windows", "How it was done.", [Row("a case", "1 s", "2 s", "0.5", "0.5", "≤ 1", True)])


def test_a_section_that_is_measured_again_takes_the_place_of_the_old_one() -> None:
    page = "# Benchmarks\n\nold\n\n## Joins\n\njoined\n\n## Windows\n\nold figures\n\n## Last\n\nlast\n"
    again = replaced(page, "Windows", text(MEASURED, "0.1"))
    order = [line for line in again.splitlines() if line.startswith("## ")]
    assert order == ["## Joins", "## Windows", "## Last"]
    assert "old figures" not in again
    assert "| a case | 1 s | 2 s | 0.5 | 0.5 | ≤ 1 | met |" in again
    assert {"joined", "last"} <= set(again.splitlines())


def test_a_new_section_comes_last_and_leaves_the_others_as_they_were() -> None:
    page = REPORT.read_text()
    added = replaced(page, "Brand new", text(MEASURED, "0.1").replace("## Windows", "## Brand new"))
    sections = page[page.index("\n## ") :].rstrip()
    assert sections in added
    assert added.rindex("## Brand new") > added.index(sections) + len(sections) - 1


def test_writing_a_page_twice_changes_nothing() -> None:
    measurement = text(MEASURED, "0.1")
    once = replaced(REPORT.read_text(), "Windows", measurement)
    assert replaced(once, "Windows", measurement) == once
