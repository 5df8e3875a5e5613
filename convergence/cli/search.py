"""`convergence search`: asks the live index, and puts together what searching needs, for the service too."""

import json
import unicodedata
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convergence.cli.files import FileToRead
from convergence.errors import IndexMissing
from convergence.search.items import MODALITIES
from convergence.search.use_case import SearchedUseCase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy as np
    from fastapi import FastAPI
    from numpy.typing import NDArray

    from convergence.lake.tables import Lake
    from convergence.observability.traces import Tracer
    from convergence.search.query import Found, Picture
    from convergence.search.searching import Searcher
    from convergence.search.snapshots import Snapshots
    from convergence.serving.access import Access

_DAY = click.DateTime(formats=["%Y-%m-%d"])
_WIDTH = 72  # characters of an item's text in a line


@click.command()
@click.argument("text", required=False)
@click.option("--code", help="Code: finds code like it.")
@click.option("--image", type=FileToRead(), help="Finds what is like it.")
@click.option("--modality", multiple=True, type=click.Choice(MODALITIES), help="Can be repeated; default: all.")
@click.option("--language", multiple=True, help="Of items that have one, such as python or en; can be repeated.")
@click.option("--from", "first", type=_DAY, help="First day of the event.")
@click.option("--to", "last", type=_DAY, help="Last day, included.")
@click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True)
@click.option("--use-case", help="Default: the one that is searched.")
@click.option("--json", "as_json", is_flag=True, help="All that is known of each result, as JSON.")
def search(
    text: str | None,
    code: str | None,
    image: Path | None,
    modality: tuple[str, ...],
    language: tuple[str, ...],
    first: datetime | None,
    last: datetime | None,
    limit: int,
    use_case: str | None,
    *,
    as_json: bool,
) -> None:
    """Search images, text and code by TEXT, by code, or by an image.

    For example: convergence search "a red bus" --modality image
    """
    from convergence.cli import lake, snapshots
    from convergence.search.query import Query
    from convergence.serving.search_answers import shown

    query = Query(
        text=text, code=code, image=_picture(image, lambda: searcher) if image else None, modalities=modality,
        first_day=_day(first), last_day=_day(last), languages=frozenset(language) or None, limit=limit,
    )  # fmt: skip
    one = searched(use_case)
    there = snapshots(one.name)
    if not (live := there.live()):
        raise IndexMissing(f"{one.name} has no live index: build one, `convergence demo --use-case {one.name}`")
    searcher = open_searcher(there, lake(), live.version)
    try:
        found = searcher.search(query)
    finally:
        searcher.close()
    if as_json:
        rows = [{k: v for k, v in shown(one).items() if k != "highlighted"} for one in found.results]
        click.echo(json.dumps({"index_version": found.version, "total": found.total, "results": rows}, indent=2))
    else:
        _show(found)


def searched_use_cases() -> dict[str, SearchedUseCase]:
    """The searched use cases, by name."""
    from convergence_assets import declared

    return {one.name: one for one in declared(lambda use_case: use_case.searched)}


def searched(use_case: str | None) -> SearchedUseCase:
    """A use case that is searched; None: the first. Raises click.BadParameter, which lists those that are."""
    there = searched_use_cases()
    if use_case is None and there:
        return next(iter(there.values()))
    if use_case not in there:
        raise click.BadParameter(f"no use case {use_case!r} is searched; there are: {', '.join(there) or 'none'}")
    return there[use_case]


def open_searcher(snapshots: "Snapshots", lake: "Lake", version: str) -> "Searcher":
    """A snapshot of an index with its encoders, which are read from the lake.

    Raises IndexMissing: there is no such snapshot; EncoderMismatch: its encoders are not in the lake.
    """
    from convergence.search.kept_encoders import kept
    from convergence.search.searching import Searcher

    snapshot = snapshots.opened(version)
    try:
        named = snapshot.about.get("encoders", {})
        return Searcher.of(snapshot, {name: kept(lake.store, digest) for name, digest in named.items()})
    except BaseException:
        snapshot.close()
        raise


def composed_search(
    use_case: SearchedUseCase, lake: "Lake", access: "Access", *, hosts: "Collection[str]", tracer: "Tracer"
) -> "FastAPI":
    """The search service with all that it talks to; its thread and its decoder end with it."""
    from convergence.cli import objects, snapshots
    from convergence.objects.images import ImageDecoder
    from convergence.search.following import Searching
    from convergence.serving.search_app import create_search_app
    from convergence.serving.search_metrics import SearchMetrics
    from convergence.serving.search_routes import SearchRoutes

    there = snapshots(use_case.name)

    def live() -> str | None:
        found = there.live()
        return found.version if found else None

    searching = Searching(live, lambda version: open_searcher(there, lake.newest(), version))
    decoder = ImageDecoder().__enter__()
    searching.start()
    ends = [searching.stop, lambda: decoder.__exit__(None, None, None), tracer.flush]
    routes = SearchRoutes(searching, objects(), decoder, SearchMetrics(), tracer)
    return create_search_app(routes, access, name=use_case.name, hosts=hosts, on_stop=ends)


def _picture(file: Path, searcher: "Callable[[], Searcher]") -> "Picture":
    """An image that is decoded when a searcher asks for it, in the size that this one takes."""
    from convergence.objects.images import ImageDecoder
    from convergence.search.query import Picture

    content = file.read_bytes()

    def pixels() -> "NDArray[np.uint8]":
        with ImageDecoder() as decoder:
            return decoder.pixels(content, **searcher().pixel_settings())

    return Picture(sha256(content).hexdigest(), pixels)


def _day(at: datetime | None) -> date | None:
    return at.date() if at else None


def _show(found: "Found") -> None:
    if not found.results:
        click.echo(f"Nothing was found in index {found.version[:12]}")
    for number, result in enumerate(found.results, 1):
        item = result.item
        said = _line(item.title or item.text or item.code or "")
        click.echo(f"{number:3} {result.relevance:4.0%} {result.modality:5} {item.day} {_line(result.item_id)}  {said}")


def _line(text: str) -> str:
    """One line of a text from outside: what steers a terminal is left out."""
    plain = "".join(sign if unicodedata.category(sign)[0] != "C" else " " for sign in text)
    line = " ".join(plain.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
