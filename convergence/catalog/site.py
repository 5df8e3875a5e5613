"""Writes the catalogue as a folder that a browser opens from a disk: a page, its script and style, no network.

The data are in the page itself, because a page from a disk may fetch nothing. Every name and text of them is shown as
text, never as markup.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PAGES = Path(__file__).parent / "pages"
_PLACE = "CATALOG"
# Within <script> only these could end it or begin something else; line separators end a line in older browsers.
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def write_site(folder: Path, catalog: Mapping[str, Any]) -> Path:
    """Write the catalogue below `folder`, in place of an older one; returns the page to open."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("catalog.js", "catalog.css"):
        (folder / name).write_bytes((_PAGES / name).read_bytes())
    page = (_PAGES / "index.html").read_text().replace(_PLACE, embedded(catalog))
    (folder / "index.html").write_text(page)
    return folder / "index.html"


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that may stand in a <script> of a page whatever it holds. Raises ValueError for NaN and infinities."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False).translate(_ESCAPED)
