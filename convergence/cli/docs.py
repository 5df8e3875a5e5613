"""`convergence docs`: the numbers of the documentation, written from this environment's lake."""

import sys
from itertools import chain

import click

from convergence.errors import TableMissing


@click.command()
@click.option("--use-case", "only", help="The pages of one use case; default: all.")
def docs(only: str | None) -> None:
    """Write the numbers of the pages that use cases declare, from what the lake holds now.

    What cannot be told stays as it is, and is said with what to make first; exit 1 then.
    """
    from convergence.cli import ROOT, lake
    from convergence.marked_pages import injected, marked
    from convergence_assets import use_cases

    here = lake()
    declared = {one.name: one.pages for one in use_cases() if one.pages}
    if only is not None and only not in declared:
        raise click.BadParameter(f"{only!r} declares no pages; there are those of {', '.join(declared)}")
    missing = False
    for pages in declared[only] if only else chain.from_iterable(declared.values()):
        numbers: dict[str, str] = {}
        complete = True
        for part in (pages.numbers, *pages.apart):
            try:
                numbers |= part(here)
            except TableMissing as error:  # the others do not wait for it
                complete, missing = False, True
                click.echo(f"{', '.join(pages.files)}: {error}", err=True)
        for name in pages.files if numbers else ():
            before = (ROOT / name).read_text()
            after = injected(before, numbers, some=not complete)
            (ROOT / name).write_text(after)
            told = marked(after) & set(numbers)
            left = f", {', '.join(sorted(marked(after) - told))} left as before" if marked(after) - told else ""
            state = "as before" if after == before else "new"
            click.echo(f"{name}: {len(told)} numbers and tables, {state}{left}")
    if missing:
        sys.exit(1)
