"""`convergence backup` and `convergence restore`: a home, copied and put back, and held against what was copied."""

import sys
from pathlib import Path

import click

from convergence.cli.files import FolderToRead, FolderToWrite
from convergence.errors import SettingsError


@click.command()
@click.argument("path", type=FolderToWrite())
def backup(path: Path) -> None:
    """Copy the home to the new folder PATH, while others work in it. See docs/lake.md for what is promised."""
    from convergence.backups import LEFT_OUT
    from convergence.backups import backup as copy

    files = copy(_home(), path)
    click.echo(f"{len(files):,} files in {path}; left out: {', '.join(LEFT_OUT)}")
    click.echo(f"Next: `CONVERGENCE_HOME=NEW convergence restore {path}` proves it")


@click.command()
@click.argument("path", type=FolderToRead())
def restore(path: Path) -> None:
    """Put the backup PATH into the home, which must be empty, and verify lake and audit log; exit 1 on damage."""
    from convergence.backups import restore as put_back
    from convergence.cli import lake
    from convergence.lake.inventory import tables
    from convergence.lake.verification import verify
    from convergence.versions.audit import AuditLog

    count = put_back(path, _home())
    here = lake(reading=True)
    damages = [str(damage) for table in tables(here) for damage in verify(here, table).damages]
    if fault := AuditLog(here.store).verify().fault:
        damages.append(f"audit log: {fault}")
    for damage in damages:
        click.echo(f"DAMAGED {damage}")
    click.echo(f"{count:,} files restored: {len(damages)} damages")
    sys.exit(1 if damages else 0)


def _home() -> Path:
    from resources.environments import settings

    here = settings()
    if here.lake_url:
        raise SettingsError("the lake is in a bucket (CONVERGENCE_LAKE_URL): use what the bucket has for backups")
    return here.home.resolve()
