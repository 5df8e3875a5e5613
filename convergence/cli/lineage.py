"""`convergence lineage` and `convergence impact`: what a column is made from, and what would notice if it changed."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convergence.catalog.consumers import Consumer
    from convergence.versions.lineage import Column, ColumnGraph


@click.command()
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="As JSON: what each column is made from directly.")
def lineage(target: str, *, as_json: bool) -> None:
    """Print what TARGET is made from, back to the first columns: use_case/table.column, or a table alone."""
    from convergence_assets.definitions import defs
    from resources.lineage import column_graph, reasons

    graph = column_graph(specs := list(defs.resolve_all_asset_specs()))
    columns = graph.named(target)
    if as_json:
        reached = [*graph.before(columns), *columns]
        made = {str(column): [str(source) for source in graph.sources.get(column, ())] for column in reached}
        click.echo(json.dumps(made, indent=2))
        return
    why = reasons(specs)
    for column in columns:
        for line in graph.tree(column, why):
            click.echo(line)


@click.command()
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def impact(target: str, *, as_json: bool) -> None:
    """Print what depends on TARGET: columns by layer, and the HTTP services that hold one of them."""
    from convergence.catalog.consumers import services
    from convergence_assets import declared
    from convergence_assets.definitions import defs
    from resources.keys import table_of
    from resources.lineage import column_graph

    graph = column_graph(specs := list(defs.resolve_all_asset_specs()))
    columns = graph.named(target)
    after = graph.after(columns)
    known = services(declared(lambda one: one.served), graph.tables)
    served = [found for one in known if (found := one.touched([*columns, *after])).columns]
    if as_json:
        found = {"columns": [str(c) for c in after], "services": {s.name: [str(c) for c in s.columns] for s in served}}
        click.echo(json.dumps(found, indent=2))
        return
    layers = {table_of(spec.key): spec.tags.get("layer", "other") for spec in specs}
    _show(target, graph, after, layers, served)


def _show(
    target: str, graph: "ColumnGraph", after: "list[Column]", layers: dict[str, str], served: "list[Consumer]"
) -> None:
    tables = [table for table in graph.tables if any(column.table == table for column in after)]
    click.echo(f"{target}: {len(after)} columns of {len(tables)} tables depend on it, {len(served)} services hold it")
    for layer in dict.fromkeys(layers[table] for table in tables):
        click.echo(f"\n{layer}")
        for table in tables:
            if layers[table] == layer:
                names = [column.name for column in after if column.table == table]
                click.echo(f"  {table}: {_all_or(names, graph.tables[table])}")
    for service in served:
        click.echo(f"\n{service.name}\n  {service.about}")
        for table in dict.fromkeys(column.table for column in service.columns):
            click.echo(f"  {table}: {', '.join(c.name for c in service.columns if c.table == table)}")


def _all_or(names: "Sequence[str]", of: "Sequence[str]") -> str:
    return "every column" if len(of) > 1 and list(names) == list(of) else ", ".join(names)
