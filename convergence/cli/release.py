"""`convergence promote`, `rollback` and `release`: which model serves. What they do is one entry of the audit log.

Who does it, there, is the user of the process.
"""

import json
import sys
from datetime import date
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from convergence.models.releasable import Releasable
    from convergence.models.releases import Release
    from convergence.models.releasing import Releases, Told


@click.command()
@click.argument("name")
@click.option("--version", help="Default: the newest.")
@click.option("--to", "alias", type=click.Choice(["champion", "challenger"]), default="champion", show_default=True)
@click.option("--share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
              help="Of the requests that a challenger answers.")  # fmt: skip
@click.option("--reason", default="the gate let it pass", help="Goes on record.")
@click.option("--override", help="Release it although the gate refused it, and why; goes on record.")
def promote(name: str, version: str | None, alias: str, share: float, reason: str, override: str | None) -> None:
    """Let a version of the model NAME serve: as champion, or as challenger for a share of the requests."""
    tried = share if alias == "challenger" else None
    _report(releases().promote(releasable(name), version=version, share=tried, reason=reason, override=override))


@click.command()
@click.argument("name")
@click.option("--to", help="A version that was released before; default: the release before the present one.")
@click.option("--reason", required=True, help="Goes on record.")
def rollback(name: str, to: str | None, reason: str) -> None:
    """Go back to an earlier release of the model NAME: model, feature view and online namespace in one step."""
    _report(releases().rollback(releasable(name), to=to, reason=reason))


@click.group()
def release() -> None:
    """What is released: look at it, tell Redis and MLflow again, end a canary."""


@release.command("ls")
@click.argument("name", metavar="MODEL", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(name: str | None, *, as_json: bool) -> None:
    """List versions with what the gate measured and decided of each, and which one serves: of MODEL, or of all."""
    from convergence.cli import lake
    from convergence.models.versions import versions

    here = lake()
    found = {one.name: versions(here, one) for one in ([releasable(name)] if name else _releasable().values())}
    if as_json:
        click.echo(json.dumps({model: [one._asdict() for one in its] for model, its in found.items()}, indent=2))
        return
    for model, its in found.items():
        click.echo(f"{model}: {len(its)} versions" if its else f"{model}: none yet; materialize it first")
        for one in its:
            measured = "" if one.measured is None else f", {one.measure} {one.measured:.4f}"
            click.echo(f"  {one.version}  as of {one.as_of or 'a date that was made again'}{measured}")
            click.echo(f"      {one.verdict}")
            if one.serves:
                click.secho(f"      serves {one.serves}", bold=True)


@release.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the release of the model NAME as the log has it, as JSON."""
    click.echo(_newest(name).to_json())


@release.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also where Redis holds a release that this log does not have.")
def publish(name: str, *, force: bool) -> None:
    """Tell Redis and MLflow what the log says of the model NAME."""
    _report(releases().tell(_newest(name), force=force))


@release.command("end-canary")
@click.argument("name")
@click.option("--reason", required=True, help="Goes on record.")
def end_canary(name: str, reason: str) -> None:
    """Take the requests of the challenger of the model NAME away."""
    canary = _newest(name).canary
    if canary is None:
        raise click.UsageError(f"{name} tries no challenger")
    _report(releases().end_canary(releasable(name), canary["model_version"], reason=reason))


@release.command()
@click.argument("name")
@click.option("--release", "number", type=int, help="The release that began it; default: the newest.")
def canary(name: str, number: int | None) -> None:
    """Show the trial of a challenger of the model NAME, by what the servers of this home logged.

    Exit 1 if the requests were split otherwise than they should be: nothing else can then be believed.
    """
    from rich.console import Console
    from rich.table import Table

    from convergence.models.trials import tried
    from convergence.serving.canary import Canary
    from convergence.serving.experiment import BROKEN_SPLIT, experiment
    from convergence.serving.served_log import exposures_of
    from resources.environments import settings

    release, begun, ended = tried(releases().log, releasable(name).name, number)
    trial = Canary(release)
    share, beside = trial.shares["challenger"], release.model_version
    click.echo(f"{trial.experiment}: {trial.challenger} for {share:.1%} of the requests, beside {beside}")
    if ended is None:
        click.echo(f"since {begun.at}")
    else:
        click.echo(f"{begun.at} to {ended.at}: {ended.action} by {ended.actor}: {ended.detail['reason']}")
    folder = exposures_of(settings().home, release.name)
    found = experiment(folder, trial.experiment, trial.shares, date.fromisoformat(begun.at[:10]))
    table = Table("variant", "requests", "of all", "repeated", "failed", "invalid", "slow", box=None)
    total = found.rates["units"].sum()
    for variant, units, repeated, *rates in found.rates.iter_rows():
        shown = f"{units:,}", f"{units / total:.2%}", f"{repeated:,}"
        table.add_row(variant, *shown, *(f"{rate:.2%}" for rate in rates))
    Console().print(table)
    if found.distance is not None:
        click.echo(f"distance of the scores' distributions: {found.distance:.3f}")
    if repeated := found.rates["repeated"].sum():
        click.secho(
            f"{repeated:,} requests came under an id that was there already, and count once with it. Next, where these "
            "are more than retries: look for clients whose X-Request-ID does not vary",
            fg="yellow",
        )
    click.echo(f"split: p {found.split_p:.2g}")
    if found.split_is_broken:
        click.secho(
            f"the split is BROKEN (p below {BROKEN_SPLIT:g}): a variant's requests are missing or too many, and "
            "nothing above can be believed. Next: look at convergence_exposure_log_lost_total",
            fg="red",
            err=True,
        )
        sys.exit(1)


def releasable(name: str) -> "Releasable":
    """A declared model. Raises click.BadParameter, which lists them."""
    known = _releasable()
    if name not in known:
        raise click.BadParameter(f"no model {name!r}; there are: {', '.join(known) or 'none'}")
    return known[name]


def _releasable() -> "dict[str, Releasable]":
    """Every declared model, by name; the graph is not loaded: who rolls back has no time for that."""
    from convergence_assets import declared

    return {model.name: model.releasable for model in declared(lambda one: one.models)}


def releases() -> "Releases":
    """The releases of this environment's lake."""
    from convergence.cli import lake
    from convergence.models.registry import Registry
    from convergence.models.releasing import Releases
    from convergence.services.redis import connect
    from resources.environments import settings

    here = settings()
    return Releases(
        lake(), lambda: connect(here.redis, here.home, timeout=2), Registry(here.tracking_uri, here.artifacts)
    )


def _newest(name: str) -> "Release":
    from convergence.models.release_log import newest

    found = newest(releases().log, releasable(name).name)
    if found is None:
        raise click.UsageError(f"nothing was ever released as {name}: `convergence promote {name}` first")
    return found


def _report(told: "Told") -> None:
    """One line for the release, one for each mirror that does not know it; exit 1 if there is one."""
    made = told.release
    tried = f", trying {made.canary['model_version']} with {made.canary['share']:.0%}" if made.canary else ""
    click.echo(f"{made.name}: release {made.number} is {made.model_version} on {made.namespace}{tried}")
    for problem in told.untold:
        click.secho(f"not told: {problem}", fg="yellow", err=True)
    if told.untold:
        sys.exit(1)
