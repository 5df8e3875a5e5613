"""`convergence verify`: whether the rows that lie there are those that the manifests tell of."""

import sys

import click

_NEXT = "\nNext: `convergence repair TABLE[@PARTITION]`"


@click.command()
@click.argument("what", metavar="[TABLE[@PARTITION]]", required=False)
def verify(what: str | None) -> None:
    """Read what is stored and hold it against checksums, manifests and the log; exit 1 and list what is not as written.

    Without TABLE: every table of the lake. `governance/lake_upkeep` does it every night.
    """
    from convergence.cli import lake
    from convergence.lake.inventory import tables
    from convergence.lake.verification import verify as verified

    here = lake(reading=True)
    table, at, partition = (what or "").partition("@")
    damages, partitions, rows = [], 0, 0
    for name in [table] if table else tables(here):
        found = verified(here, name, [partition] if at else None)
        damages += found.damages
        partitions, rows = partitions + found.partitions, rows + found.rows
    for damage in damages:
        click.echo(f"DAMAGED {damage}")
    click.echo(f"{partitions:,} partitions, {rows:,} rows: {len(damages)} damaged" + (_NEXT if damages else ""))
    sys.exit(1 if damages else 0)
