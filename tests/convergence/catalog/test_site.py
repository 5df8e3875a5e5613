"""The catalogue in a browser, from the disk: search, clicks and keys, lineage both ways, and hostile texts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.catalog.site import embedded, write_site
from tests.convergence.browser import Page, browser

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">&amp;\u2028"


def column(name: str, *sources: str, **tags: str) -> dict[str, Any]:
    about = {"type": "Int64", "description": f"What {name} is", "rules": ["never null"]}
    return {"name": name, **about, "tags": tags, "from": list(sources)}


def asset(key: str, layer: str, upstream: list[str], *columns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        **{
            "key": key,
            "group": key.split("/", maxsplit=1)[0],
            "layer": layer,
            "kinds": ["polars"],
            "owners": ["team:shop"],
        },
        **{"description": f"Rows of {key}.\n\nMore.", "contract": "shop.Contract", "code_version": "1"},
        **{"partitions": "3, 2024-01-01 to 2024-01-03", "freshness": "25 hours", "upstream": upstream},
        **{"columns": list(columns), "checks": [], "versions": None, "cost": None, **more},
    }


CHECK = {
    "name": "contract",
    "description": "Rows keep it",
    "blocking": True,
    "verdict": "failed",
    "partition": "",
    "at": "",
}
PART = {"partition": "2024-01-03", "rows": 7, "version": 4, "hash": "sum128:7:ab", "cost": 0.5, "cpu_seconds": 1.5}
VERSIONS = {"partitions": 3, "rows": 21, "table_version": 4, "code_version": "1", "origins": ["published"],
            "made_at": "2024-01-04", "newest": [PART]}  # fmt: skip
COST = {
    "measured": 3,
    "making": 0.25,
    "keeping": 0.01,
    "cpu_seconds": 4.5,
    "bytes_written": 900,
    "peak_memory_mib": 80.0,
}
CATALOG = {
    "made_at": "2024-01-04 00:00 UTC",
    "prices": {"currency": "EUR"},
    "services": [{"name": "HTTP service shop", "about": "POST /v1/shop/score", "columns": ["shop/scores.score"]}],
    "assets": [
        asset("shop/orders", "dataset", [], column("amount", unit="EUR"), column("buyer", pii="identifier")),
        asset("shop/features", "feature", ["shop/orders"],
              column("mean_amount", "shop/orders.amount", "shop/orders.buyer"),
              checks=[CHECK | {"verdict": verdict} for verdict in ("passed", "warning", "never run")]),
        asset("shop/scores", "prediction", ["shop/features"], column("score", "shop/features.mean_amount"),
              column("seed", made_here="a constant"), checks=[CHECK], versions=VERSIONS, cost=COST),
        asset(f"shop/{HOSTILE}", "dataset", [], column(HOSTILE, **{"pii": HOSTILE}), description=HOSTILE),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("catalog")
    address = write_site(folder / "pages", CATALOG).as_uri()
    with browser(folder / "profile") as opened:
        opened.open(address)
        yield opened
        assert [url for url in opened.requested if not url.startswith(("file:", "about:"))] == []
        assert opened.said == []


def test_the_list_says_what_is_open_of_an_assets_checks_and_nothing_where_there_are_none(page: Page) -> None:
    page.value("location.hash = ''")
    page.wait("document.querySelector('h1').innerText === 'All assets'")
    shown = page.value(
        "[...document.querySelectorAll('tbody tr')].map(({ cells }) =>"
        " [cells[0].innerText, cells[5].innerText, cells[5].firstElementChild?.className ?? ''].join('|'))"
    )
    assert shown[:3] == [
        "shop/orders||",
        "shop/features|1/3, 1 warning, 1 never run|warning",
        "shop/scores|0/1, 1 failed|failed",
    ]


def test_clicks_lead_from_an_asset_over_a_column_to_what_it_is_made_from_and_what_depends_on_it(page: Page) -> None:
    page.value("location.hash = ''")
    page.wait("document.querySelector('h1').innerText === 'All assets'")
    page.click("shop/scores")
    shown = page.text()
    for said in ("Rows of shop/scores.", "team:shop", "shop.Contract", "25 hours", "failed", "2024-01-03",
                 "sum128:7:ab", "0.250 EUR", "900 bytes", "80 MiB", "HTTP service shop",
                 "made_here: a constant"):  # fmt: skip
        assert said in shown
    page.click("score")
    assert "shop/features.mean_amount" in page.text()
    assert "shop/orders.amount" in page.text()
    page.click("shop/orders.amount")
    shown = page.text()
    assert "Impact: 2 columns depend on it" in shown
    assert "mean_amount" in shown
    assert "HTTP service shop" in shown
    page.click("shop/scores")
    assert page.value("location.hash") == "#asset/shop%2Fscores"
    page.value("history.back()")
    page.wait("document.querySelector('h1').innerText === 'shop/orders.amount'")


def test_it_is_searched_and_read_with_the_keys_alone(page: Page) -> None:
    page.value("location.hash = ''")
    page.press("/")
    page.type("identifier")
    page.wait("document.querySelector('h1').innerText === '0 assets and 1 columns'")
    page.press("ArrowDown")
    page.press("Enter")
    page.wait("document.querySelector('h1').innerText === 'shop/orders.buyer'")
    page.press("/")
    page.press("Escape")
    page.type("nothing has this")
    page.wait("document.getElementById('view').innerText.includes('Nothing has these words')")
    page.press("Escape")
    page.wait("document.querySelector('h1').innerText === 'All assets'")


def test_hostile_names_and_texts_are_shown_and_not_obeyed(page: Page) -> None:
    for kind, name in (("asset", f"shop/{HOSTILE}"), ("column", f"shop/{HOSTILE}.{HOSTILE}")):
        page.value(f"location.hash = '#{kind}/' + encodeURIComponent({json.dumps(name)})")
        page.wait("document.querySelector('h1').innerText.includes('onerror')")
        assert page.value("document.querySelectorAll('#view img, #view script').length") == 0
        assert "taken" not in page.value("document.title.split(' - ')[1] ?? ''")
        assert page.value("document.title") != "taken"


def test_an_older_catalogue_is_replaced(tmp_path: Path) -> None:
    page = write_site(tmp_path, CATALOG)
    before = page.read_text()
    assert write_site(tmp_path, {**CATALOG, "made_at": "later"}).read_text() != before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["catalog.css", "catalog.js", "index.html"]


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)))
def test_what_is_embedded_is_read_back_and_cannot_leave_its_script(data: dict[str, Any]) -> None:
    text = embedded(data)
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029")
