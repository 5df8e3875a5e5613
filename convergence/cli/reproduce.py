"""`convergence reproduce`: a partition made again from exactly what it was made from, compared with what there is."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from convergence.lake.tables import Lake
    from convergence.versions.reconcile import Node
    from convergence.versions.reproduce import Difference, Recorded

# Nothing that counts is touched: stores are local and empty. A warehouse is DuckDB then, whatever is configured.
_APART = {"lake_url": None, "mlflow_url": None, "warehouse": "duckdb"}


@click.command()
@click.argument("what", metavar="ASSET@PARTITION")
def reproduce(what: str) -> None:
    """Make a partition again from the versions that it was made from, and compare: equal, or the first difference.

    ASSET@PARTITION is e.g. fraud/fraud_scores@2018-08-10, a table without partitions alone, or a model by its
    version: fraud_model@2018-08-01.5c1b62d4. Nothing that counts is touched. Exit code 1: something else came out.
    """
    sys.exit(0 if reproduced(what) else 1)


def reproduced(what: str) -> bool:
    """Whether the same came out. Raises ConvergenceError where it cannot be tried."""
    from convergence.cli import lake
    from convergence.lake.manifests import states
    from convergence.versions.reproduce import TOLERANCE, first_difference, harmed, recorded, rows_at

    began, here = time.perf_counter(), lake()
    node, partition, version = target(here, what)
    wanted = recorded(here, node.table, partition, version)
    _say_code(wanted)
    found = harmed(here, wanted)
    if found:
        for each in found:
            click.echo(f"DAMAGED {each}")
        click.echo(f"different: what is stored is not what its manifest says; `convergence repair {node.table}`")
        return False
    if found is None:
        click.echo("  its rows were replaced and are gone: what comes out is compared with its manifest alone")
    with made_again(here, node, partition, wanted) as scratch:
        if scratch is None:
            return False
        made = states(scratch, [node.table])[node.table][partition]
        if made.content_hash == wanted.content_hash:
            click.echo(f"equal: {wanted.rows:,} rows, {wanted.content_hash}, in {time.perf_counter() - began:.1f} s")
            return True
        there = rows_at(here, wanted)
        return _verdict(first_difference(there, rows_at(scratch, recorded(scratch, node.table, partition))), TOLERANCE)


@contextmanager
def made_again(here: "Lake", node: "Node", partition: str, wanted: "Recorded") -> "Iterator[Lake | None]":
    """A lake of its own, in which the partition was made from what is on record; None: an input is no longer that."""
    import dagster as dg

    from convergence.cli.materialize import materializer
    from convergence.lake.tables import Lake
    from convergence.models import release_log
    from convergence.versions.reproduce import restore
    from resources.configured import resources
    from resources.environments import settings

    with tempfile.TemporaryDirectory(prefix="convergence-reproduce-") as home, dg.DagsterInstance.ephemeral() as own:
        # objects are named by their content: those that are there can be read, and no other can be put in their place
        elsewhere = {"home": Path(home), "objects_url": settings().objects_root}
        apart = settings().model_copy(update=_APART | elsewhere)
        scratch = Lake(apart.lake_root)
        if _reads(node.table, "reads_releases"):
            release_log.copy(here.store, scratch.store)
        for each in restore(here, scratch, wanted, past=_reads(node.table, "reads_own_past")):
            said = f"{len(each.changed)} differ, first {each.changed[0]}" if each.changed else "equal"
            click.echo(
                f"  {each.table} version {each.version}: {each.partitions} partitions, {each.rows:,} rows: {said}"
            )
            if each.changed:
                named = f"{wanted.table}@{partition}" if partition else wanted.table
                click.echo(f"different: {each.table} is no longer what {named} was made from")
                yield None
                return
        tags = {"dagster/partition": partition} if partition else {}
        materializer(own, resources(apart))(node, tags, wanted.config)
        yield scratch


def _verdict(found: "Difference | None", tolerance: float) -> bool:
    if found and found.relative is not None and found.relative <= tolerance:
        click.echo(f"equal within {tolerance:g}: {found.what}")
        return True
    click.echo(f"different: {found.what if found else 'content hashes, though every column is equal'}")
    return False


def _say_code(wanted: "Recorded") -> None:
    from convergence.versions.revision import code_revision, lock_hash

    click.echo(f"{wanted.table} {wanted.partition} version {wanted.version}: {wanted.rows:,} rows".replace("  ", " "))
    for name, was, now in (("code", wanted.revision, code_revision()), ("lock file", wanted.lock, lock_hash())):
        click.echo(f"  {name}: {was[:16]}, as now" if was == now else f"  {name}: was {was}, is now {now}")


def target(here: "Lake", what: str) -> "tuple[Node, str, int | None]":
    """The table, its partition and, for a model named by its version, the table's version that held it."""
    from convergence.lake.tables import WHOLE
    from convergence.versions.reproduce import version_of_model
    from convergence_assets.definitions import defs
    from resources.graph import lake_nodes

    name, _, partition = what.partition("@")
    nodes = {node.table: node for node in lake_nodes(defs.resolve_all_asset_specs())}
    named = [node for table, node in nodes.items() if name in (table, table.rpartition("/")[2])]
    if len(named) != 1:
        near = ", ".join(n.table for n in named) or ", ".join(nodes)
        raise click.BadParameter(f"{name!r} names {len(named)} assets; expected one of: {near}", param_hint="ASSET")
    (node,) = named
    if list(node.partitions) == [WHOLE]:
        partition = WHOLE if partition in (node.table, WHOLE) else partition
    if partition in node.partitions:
        return node, partition, None
    key, dot, _ = partition.rpartition(".")
    if dot and key in node.partitions:
        return node, key, version_of_model(here, node.table, key, partition)
    raise click.BadParameter(
        f"{node.table} has no partition {partition!r}; expected one from {node.partitions[0]!r} to "
        f"{node.partitions[-1]!r}",
        param_hint="PARTITION",
    )


def _reads(table: str, what: str) -> bool:
    """Whether an asset says in its metadata that it reads what is no input of it."""
    from convergence_assets.definitions import defs
    from resources.keys import key_of

    return bool(defs.resolve_asset_graph().get(key_of(table)).metadata.get(what))
