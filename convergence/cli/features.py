"""`convergence features`: the feature views that are served, their values of this moment, and their updater.

The catalogue and the offline stores are in `feature_catalogue.py`.
"""

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from convergence.cli.serve import served

if TYPE_CHECKING:
    from convergence.features.online_store import OnlineStore
    from convergence.serving.use_case import ServedUseCase


@click.group()
def features() -> None:
    """Look features up, read them as of a time or of this moment, and hand them to others."""


@features.command()
def online() -> None:
    """List the views that are served, and what their online state holds."""
    from rich.console import Console
    from rich.table import Table

    from convergence.features.online_store import OnlineStoreError
    from convergence_assets import declared

    table = Table("use case", "view", "features", "namespace", "up to version", "newest event", "entities", box=None)
    for use_case in declared(lambda one: one.served):
        view, store = use_case.features.online.view, _store(use_case)
        row = [use_case.name, view.name, str(len(view.features))]
        try:
            namespace = store.newest()
            meta = store.read(namespace, ()).meta if namespace else None
            state = [str(namespace), str(meta.version), _time(meta.newest), f"{meta.entities:,}"] if meta else ["none"]
        except OnlineStoreError as error:
            state = [str(error)]
        table.add_row(*row, *state)
    Console(soft_wrap=True).print(table)


@features.command()
@click.argument("use_case")
@click.argument("row", metavar="JSON")
def get(use_case: str, row: str) -> None:
    """Print the features that a transaction, given as JSON, would have at this moment; see `convergence serve`."""
    from pydantic import ValidationError

    from convergence.serving.reading import FeatureReader
    from convergence.serving.scoring import or_none, row_of

    wanted = served(use_case)
    try:
        asked = row_of(dict(wanted.row.model_validate_json(row)), datetime.now(UTC))
    except ValidationError as error:
        raise click.BadParameter(f"not a row of {use_case}: {error}") from error
    store = _store(wanted)
    found = FeatureReader(wanted.features.online, store).vectors(store.newest(), [asked])
    values = zip(wanted.features.online.view.features, found.values[0].tolist(), strict=True)
    click.echo(json.dumps({name: or_none(value) for name, value in values}, indent=2))
    if found.degraded:
        click.secho(f"degraded: {found.degraded}", fg="yellow", err=True)


@features.command()
@click.argument("use_case")
@click.option("--every", type=click.FloatRange(min=0.05), default=1.0, show_default=True, help="Seconds between looks.")
@click.option("--until-caught-up", is_flag=True, help="Look once, then end.")
def follow(use_case: str, *, every: float, until_caught_up: bool) -> None:
    """Keep the online state of USE_CASE in step with what lands; fills it where there is none. Stops with Ctrl-C."""
    from convergence.cli import lake
    from convergence.features.online_updates import keep_up

    wanted, into, before = served(use_case), lake(), None
    store = _store(wanted)
    while True:
        into, there = into.newest(), store.newest()
        namespace, applied = keep_up(into, wanted.features, store)
        if applied or namespace != before:
            meta = store.read(namespace, ()).meta
            done = f"{applied:,} rows applied" if namespace == there else f"filled with {meta.entities:,} entities"
            click.echo(f"{namespace}: {done}, now at version {meta.version} of {meta.table}")
            before = namespace
        if until_caught_up:
            return
        time.sleep(every)


def _store(use_case: "ServedUseCase") -> "OnlineStore":
    from convergence.features.online_store import OnlineStore
    from convergence.services.redis import connect
    from resources.environments import settings

    here = settings()
    return OnlineStore(connect(here.redis, here.home), use_case.features.online.layout)


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).isoformat()
