"""`convergence repair`: what is not as it was written is restored, from older versions or from its inputs."""

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from convergence.lake.tables import Lake


@click.command()
@click.argument("what", metavar="TABLE[@PARTITION]")
def repair(what: str) -> None:
    """Restore what `convergence verify` finds damaged in TABLE, or in one PARTITION of it.

    Rows come from an older version of the table, else the partition is made again from what it was made from; what is
    not exactly what is on record is never put in its place. A table whose newest commits are lost becomes what it was
    before them. Exit code 1: something is left to do, as it says.
    """
    from convergence.cli import lake

    sys.exit(0 if repaired(lake(), what) else 1)


def repaired(here: "Lake", what: str) -> bool:
    """Whether everything is as it was written now. Raises LakeError where only a backup helps."""
    from convergence.lake.manifests import MANIFESTS
    from convergence.lake.repair import remake_manifests
    from convergence.lake.verification import verify

    table, at, partition = what.partition("@")
    if table == MANIFESTS:
        click.echo(f"{MANIFESTS}: collected anew from the logs of {remake_manifests(here)} tables")
        return not verify(here, MANIFESTS).damages
    went = _went_back(here, table)
    days = [partition] if at else None
    damages = verify(here, table, days).damages
    for damaged in sorted({damage.partition for damage in damages if damage.partition is not None}):
        _restore(here, table, damaged)
    left = verify(here, table, days).damages if damages else []
    for damage in left:
        click.echo(f"DAMAGED {damage}")
    if any(damage.partition is None for damage in left):
        click.echo(f"Next: restore the folder of {table} from a backup")
    if not damages and not went:
        click.echo(f"{what} is as it was written: nothing was changed")
    return not left and not went


def _went_back(here: "Lake", table: str) -> bool:
    """Whether commits of the table are lost, so that something has to be made again."""
    from convergence.lake.repair import go_back

    gone = go_back(here, table)
    if gone is None:
        return False
    click.echo(f"{table} is as of version {gone.version} again; damaged log files are beside it as *.damaged")
    if gone.partitions:
        click.echo(f"  lost: {', '.join(gone.partitions[:10])}{' ...' if len(gone.partitions) > 10 else ''}")
        click.echo("  Next: what was landed lands again by itself; materialize the others again, or `convergence demo`")
    if gone.erasure:
        click.echo("  an erasure was among it: `convergence erase` for that data subject again, before anything else")
    return bool(gone.partitions)


def _restore(here: "Lake", table: str, partition: str) -> None:
    from convergence.errors import ConvergenceError
    from convergence.lake.repair import restore_from_former

    named = f"{table}@{partition}" if partition else table
    version = restore_from_former(here, table, partition)
    if version is not None:
        click.echo(f"{named} restored from version {version}")
        return
    click.echo(f"{named}: no older version holds it unharmed; making it again from what it was made from")
    try:
        _make_again(here, table, partition)
        click.echo(f"{named} restored from its inputs")
    except (ConvergenceError, click.BadParameter) as error:
        click.echo(f"{named} is not restored: {error}")


def _make_again(here: "Lake", table: str, partition: str) -> None:
    """Raises LakeError where something else comes out, or where it was not made from tables."""
    from convergence.cli.reproduce import made_again, target
    from convergence.errors import LakeError
    from convergence.lake.repair import put_back
    from convergence.versions.reproduce import recorded, rows_at

    node, partition, _ = target(here, f"{table}@{partition}" if partition else table)
    with made_again(here, node, partition, recorded(here, table, partition)) as scratch:
        if scratch is None:
            raise LakeError("an input is no longer what was read; materialize it again from what is there now")
        rows = rows_at(scratch, recorded(scratch, table, partition))
        put_back(here, table, partition, rows, "its inputs")
