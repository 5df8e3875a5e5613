"""`convergence audit`: who did what when, and whether the log is as it was written."""

import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from convergence.versions.audit import AuditLog


@click.group()
def audit() -> None:
    """The log of promotions, rollbacks and all else that people did: read it, verify it."""


@audit.command("list")
@click.option("--subject", help="Only what was done to this, e.g. fraud_model.")
def list_(subject: str | None) -> None:
    """Print the entries, oldest first."""
    for entry in _log().entries(subject):
        detail = {k: v for k, v in entry.detail.items() if v is not None}
        click.echo(
            f"{entry.number:>6}  {entry.at}  {entry.actor}  {entry.action}  {entry.subject}  {json.dumps(detail)}"
        )


@audit.command()
@click.option("--head", help="NUMBER:HASH as `verify` printed it once and you noted it elsewhere.")
def verify(head: str | None) -> None:
    """Check that no entry was changed, removed, added or moved; exit 1 and name the first that was.

    Without --head it cannot be told that newest entries were removed together with _audit/head.json, or that the whole
    log was written anew: note the printed head where writers of the lake cannot reach it.
    """
    from convergence.versions.audit import Head

    known = None
    if head:
        number, _, digest = head.partition(":")
        if not number.isdigit() or not digest:
            raise click.BadParameter(f"--head {head!r}: expected NUMBER:HASH as `convergence audit verify` prints it")
        known = Head(int(number), digest)
    found = _log().verify(known)
    if found.fault:
        click.echo(f"audit log BROKEN after entry {found.head.number}: {found.fault}")
        click.echo("Next: restore the lake's _audit folder from a copy; what it says of releases is not to be trusted")
        sys.exit(1)
    click.echo(f"audit log in order: {found.head.number} entries, head {found.head.number}:{found.head.hash}")


def _log() -> "AuditLog":
    from convergence.cli import lake
    from convergence.versions.audit import AuditLog

    return AuditLog(lake(reading=True).store)
