"""Links between pages lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.graph.house import ROOT, tracked

PAGES = sorted(name for name in tracked() if name.endswith(".md"))
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_relative_link_of_a_page_leads_to_a_file_and_heading(name: str) -> None:
    broken = []
    for link in _LINK.findall(_CODE.sub("", (ROOT / name).read_text())):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (ROOT / name).parent / path if path else ROOT / name
        if not target.exists() or (anchor and anchor not in anchors(Path(target).read_text())):
            broken.append(link)
    assert broken == []


def test_anchors_are_headings_in_lower_case_with_hyphens() -> None:
    assert anchors("# One\n\n```\n# not one\n```\n## What's `new`, 2 of 3\n") == {"one", "whats-new-2-of-3"}
