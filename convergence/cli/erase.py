"""`convergence erase`: a data subject leaves everything that the platform keeps, with a certificate."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import dagster as dg

    from convergence.erasure.erase import Keepers
    from convergence.erasure.subjects import Subject
    from convergence.versions.reconcile import Node


@click.command()
@click.argument("who", metavar="KIND:ID")
@click.option("--dry-run", is_flag=True, help="Only say where the subject is.")
@click.option("--reason", default="asked to be forgotten", help="Goes on record.")
def erase(who: str, reason: str, *, dry_run: bool) -> None:
    """Remove a data subject, e.g. customer:4711, from every table, file and store, and never let it in again.

    There is no way back. It refuses while runs are in progress, and is completed by asking again where it was
    interrupted. What Kafka holds stays there until its retention ends, and is left out whenever it is landed. Places
    that could not be looked through are named, and it exits with 1.
    """
    from convergence.cli import instance
    from convergence.erasure.erase import look
    from convergence.versions.audit import process_user

    subject = subject_named(who)
    if dry_run:
        looked = look(keepers_of(subject), subject)
        for where, entries in looked.found:
            click.echo(f"{entries:>8,}  {where}")
        click.echo(f"{sum(n for _, n in looked.found):,} entries in {len(looked.found)} places; nothing was changed")
        _warn((each.where, each.why) for each in looked.not_searched)
    else:
        with instance() as dagster:
            certificate = carry_out(subject, dagster, actor=process_user(), reason=reason)
        _show(certificate)
        _warn((each["where"], each["why"]) for each in certificate["not_searched"])


def carry_out(subject: "Subject", instance: "dg.DagsterInstance", *, actor: str, reason: str) -> dict[str, Any]:
    """Erase, and tell Dagster of the partitions that differ; returns the certificate.

    Raises LakeError while runs are in progress.
    """
    from convergence.erasure.erase import erase
    from convergence.services.processes import one_at_a_time
    from resources.environments import settings
    from resources.recovery import refuse_while_running, report_unrecorded

    keepers = keepers_of(subject)
    with one_at_a_time(settings().home / ".erasing"):
        refuse_while_running(instance, "erase it again when they have ended")
        certificate = erase(keepers, subject, actor=actor, reason=reason)
    why = f"a data subject was erased, certificate {certificate['number']}"
    report_unrecorded(instance, keepers.lake.newest(), _nodes(subject), why=why)
    return certificate


def _show(certificate: dict[str, Any]) -> None:
    for told in certificate["tables"]:
        days, files = len(told["partitions"]), told["files_removed"]
        click.echo(f"{told['rows']:>8,}  {told['table']}: {days} partitions; {files} files of older versions removed")
    for name, told in certificate["stores"].items():
        click.echo(f"{told['entries']:>8,}  {name}")
    click.echo(f"{certificate['inbox_files']:>8,}  files of the inbox written anew")
    number, entry = certificate["number"], certificate["audit_entry"]
    said = "erased, but not everything could be looked through" if certificate["not_searched"] else "erased"
    click.echo(f"{said}: certificate _erasures/{number:010}.certificate.json of the lake, audit entry {entry}")


def _warn(not_searched: Iterable[tuple[str, str]]) -> None:
    """Name what a person has to see to. Raises SystemExit where there is anything."""
    named = list(not_searched)
    for where, why in named:
        click.echo(f"not searched: {where}: {why}", err=True)
    if named:
        click.echo(
            f"{len(named)} places, below the home folder, may still hold the subject: look through each yourself, take "
            "the subject out or delete the file, then ask again; it ends with 0 when none is left",
            err=True,
        )
        raise SystemExit(1)


def subject_named(who: str) -> "Subject":
    """The subject that KIND:ID names. Raises click.BadParameter for a kind that no contract knows."""
    from convergence.erasure.subjects import Subject
    from convergence_assets import topics
    from convergence_assets.definitions import defs
    from resources.subjects import named_subjects

    kind, _, named = who.partition(":")
    known = named_subjects(defs.resolve_all_asset_specs())
    if kind not in known or not named.strip():
        expected = ", ".join(f"{k}:ID" for k in sorted(known)) or "none: no contract marks a column with `subject`"
        raise click.BadParameter(f"expected {expected}", param_hint="KIND:ID")
    columns, events = known[kind].columns, known[kind].events
    originals = {t.table: t.original(columns[t.table]) for t in topics().values() if t.table in columns}
    return Subject(kind, named.strip(), columns, originals, events)


def _nodes(subject: "Subject") -> "list[Node]":
    from convergence_assets.definitions import defs
    from resources.graph import lake_nodes

    return [
        node for node in lake_nodes(defs.resolve_all_asset_specs()) if node.table in {*subject.columns, *subject.events}
    ]


def keepers_of(subject: "Subject") -> "Keepers":
    """Everything of this home that may hold the subject; use cases add what they keep as `erasable`."""
    from convergence.cli import lake
    from convergence.erasure.erase import Keepers
    from convergence.erasure.files import KeptModels, Ledgers, ServedLines
    from convergence.erasure.offline import OfflineTables
    from convergence.erasure.online import OnlineStates
    from convergence.erasure.warehouse import WarehouseTables
    from convergence.services.redis import connect
    from convergence_assets import declared, topics
    from convergence_assets.definitions import defs
    from resources.configured import resources
    from resources.environments import settings
    from resources.graph import lake_nodes

    here, into = settings(), lake()
    mine = [topic for topic in topics().values() if topic.table in subject.columns]
    others = [topic for topic in topics().values() if topic.table not in subject.columns]
    tables = [node.table for node in lake_nodes(defs.resolve_all_asset_specs())]
    cleared: dict[str, int] = {}
    stores = [ServedLines(here.home / "served"), Ledgers(here.home / "ledgers"), KeptModels(into.store)]
    if here.redis or (here.home / "online").is_dir():
        stores += [
            OnlineStates(
                into,
                served.features,
                lambda: connect(here.redis, here.home),
                lambda table: cleared.get(table, 0) > 0,
                embedded=not here.redis,
            )
            for served in declared(lambda one: one.served)
        ]
    for engine in ("duckdb", "postgres"):  # also one that is not configured now, and was: dbt has left its tables there
        has_it = here.postgres if engine == "postgres" else (here.home / "warehouse" / "warehouse.duckdb").exists()
        if has_it or here.warehouse == engine == "postgres":
            one = here.model_copy(update={"warehouse": engine})
            warehouse = resources(one, in_clear=True)["warehouse"].plain
            stores.append(WarehouseTables(warehouse, lambda: any(cleared.values())))
    if here.postgres:
        stores.append(OfflineTables(here.postgres.get_secret_value()))
    stores += [store(here.home) for store in declared(lambda one: one.erasable)]
    return Keepers(into, here.home / "inbox", mine, stores, cleared, others, tables)
