"""`convergence catalog`: every asset, column, check, version and cost as pages that a browser opens from the disk."""

from pathlib import Path

import click

from convergence.cli.files import FileToRead, FolderToWrite

PRICES = "deploy/prices.toml"


@click.command()
@click.option("--to", type=FolderToWrite(), help="Folder for the pages; default: <home>/catalog.")
@click.option("--prices", type=FileToRead(), help=f"What work and storage cost; default: {PRICES}.")
def catalog(to: Path | None, prices: Path | None) -> None:
    """Build the catalogue from the definitions and what has been run, and print the page to open."""
    from convergence.catalog.consumers import services
    from convergence.catalog.prices import read_prices
    from convergence.catalog.site import write_site
    from convergence.cli import ROOT, instance, lake
    from convergence_assets import declared
    from convergence_assets.definitions import defs
    from resources.catalog import catalog as collected
    from resources.environments import settings
    from resources.lineage import column_graph

    asked = read_prices(prices or ROOT / PRICES)
    graph = column_graph(defs.resolve_all_asset_specs())
    held = services(declared(lambda one: one.served), graph.tables)
    with instance() as inst:
        found = collected(defs, graph, held, inst, lake(), asked)
    page = write_site(to or settings().home / "catalog", found)
    columns = sum(len(asset["columns"]) for asset in found["assets"])
    click.echo(f"{len(found['assets'])} assets, {columns} columns, {page.stat().st_size / 1e6:.1f} MB")
    click.echo(f"Next: open {page.resolve().as_uri()}")
