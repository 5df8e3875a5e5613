"""`convergence docs`: the numbers of the documentation, written from this environment's lake."""

from itertools import chain

import click

from convergence.errors import TableMissing


@click.command()
@click.option("--use-case", "only", help="The pages of one use case; default: all.")
def docs(only: str | None) -> None:
    """Write the numbers of the pages that use cases declare, from what the lake holds now."""
    from convergence.cli import ROOT, lake
    from convergence.marked_pages import injected, marked
    from convergence_assets import use_cases

    here = lake()
    declared = {one.name: one.pages for one in use_cases() if one.pages}
    if only is not None and only not in declared:
        raise click.BadParameter(f"{only!r} declares no pages; there are those of {', '.join(declared)}")
    missing: list[TableMissing] = []
    for pages in declared[only] if only else chain.from_iterable(declared.values()):
        try:
            numbers = pages.numbers(here)
        except TableMissing as error:  # the other use cases' pages do not wait for it
            missing.append(error)
            continue
        for name in pages.files:
            before = (ROOT / name).read_text()
            after = injected(before, numbers)
            (ROOT / name).write_text(after)
            click.echo(f"{name}: {len(marked(after))} numbers and tables, {'as before' if after == before else 'new'}")
    if missing:
        raise TableMissing("; ".join(map(str, missing)))
