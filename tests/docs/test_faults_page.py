"""The page of faults and attacks has every case once, and each test that it names exists."""

import ast
import re
from functools import cache

from tests.graph.house import ROOT

CASES = [*(f"R-{n:02}" for n in range(1, 50)), *(f"A-{n:02}" for n in range(1, 33))]
_ROW = re.compile(r"^\| ([RA]-\d\d): (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_OPEN = ("none yet: ", "not in this platform: ")


def rows() -> list[tuple[str, str, str, str]]:
    """Case, its words, promise, and what shows it."""
    return _ROW.findall((ROOT / "docs" / "faults.md").read_text())


@cache
def defined_in(file: str) -> frozenset[str]:
    if not (ROOT / file).is_file():
        return frozenset()
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_case_is_on_the_page_once_and_in_order() -> None:
    assert [case for case, *_ in rows()] == CASES


def test_every_test_that_the_page_names_exists() -> None:
    named = _TEST.findall((ROOT / "docs" / "faults.md").read_text())
    assert len(named) > 100
    assert [f"{file}::{name}" for file, name in named if name not in defined_in(file)] == []


def test_a_case_names_a_test_or_says_why_there_is_none() -> None:
    assert [case for case, _, _, shown in rows() if not (_TEST.search(shown) or shown.startswith(_OPEN))] == []


def test_a_case_without_a_promise_is_open() -> None:
    assert [case for case, _, promise, shown in rows() if (promise == "none") is not shown.startswith(_OPEN)] == []


def test_nothing_that_looks_like_a_test_escapes_the_search() -> None:
    page = (ROOT / "docs" / "faults.md").read_text()
    assert page.count("::") == len(_TEST.findall(page))
