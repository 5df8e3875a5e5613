"""`convergence features ls, show, historical, publish, export`: the catalogue of what is declared, and its ways out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convergence.cli.features import features
from convergence.cli.files import FileToRead, FileToWrite, FolderToWrite, read_parquet
from convergence.errors import SettingsError

if TYPE_CHECKING:
    import polars as pl
    from dagster import AssetSpec

    from convergence.features.catalogue import Feature
    from convergence.features.groups import FeatureTable
    from convergence.features.offline import OfflineStore
    from convergence.features.offline_postgres import PostgresOffline


@features.command("ls")
@click.argument("use_case", required=False)
def ls(use_case: str | None) -> None:
    """List the declared features, of USE_CASE or of all."""
    from convergence.features.catalogue import features_of

    for table in _declared(use_case):
        click.secho(f"{table.table}: {table.view.description}", bold=True)
        for one in features_of(table):
            window = f" of {one.window}" + (f", ending {one.delay} before" if one.delay else "")
            how = f"{one.definition}{window}, by {', '.join(one.entity)}" if one.window else one.description
            click.echo(f"  {one.name:30} {how}")


@features.command()
@click.argument("name")
def show(name: str) -> None:
    """Print what there is to know of the feature NAME: definition, code, freshness, statistics, who uses it.

    The name of a feature table, as in `fraud/transaction_features`, gives what can be asked of it.
    """
    from convergence.features.catalogue import find

    tables = _declared()
    whole = [table for table in tables if name in (table.table, table.view.name)]
    told = [_about_table(table) for table in whole] or [_about(feature) for feature in find(tables, name)]
    for number, lines in enumerate(told):
        click.echo("\n" * bool(number) + "\n".join(f"{label:12} {said}" for label, said in lines if said))


@features.command()
@click.argument("spine", type=FileToRead())
@click.option("--group", "names", multiple=True, required=True, help="What to look up, as in `features show TABLE`.")
@click.option("--time", default="event_time", show_default=True, help="Column: as of when.")
@click.option("--known-by", help="Column: up to when it must have arrived; default: the same.")
@click.option("--engine", type=click.Choice(["polars", "duckdb", "postgres"]), default="polars", show_default=True)
@click.option("-o", "--out", type=FileToWrite(), required=True, help="Parquet file to write.")
def historical(spine: Path, names: Sequence[str], time: str, known_by: str | None, engine: str, out: Path) -> None:
    """Write the rows of SPINE, a Parquet file, with the features that they would have seen.

    `postgres` reads what `features publish` brought there.
    """
    from convergence.features.offline import historical_features

    known = {group.name: group for table in _declared() for group in table.groups}
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"no group {', '.join(unknown)}; there are {', '.join(known)}")
    rows = read_parquet(spine)
    groups = [known[name] for name in names]
    found = historical_features(_store(engine), rows, groups, time=time, known_by=known_by)
    out.parent.mkdir(parents=True, exist_ok=True)
    found.write_parquet(out)
    click.echo(f"{found.height:,} rows with {found.width - rows.width} features by {engine}: {out}")


@features.command()
@click.argument("table")
def publish(table: str) -> None:
    """Bring TABLE to PostgreSQL (CONVERGENCE_POSTGRES): the days that are not there as they are here."""
    from convergence.cli import lake

    (declared,) = [one for one in _declared() if one.table == table] or [None]
    if declared is None:
        raise click.BadParameter(f"no feature table {table}; there are {', '.join(t.table for t in _declared())}")
    days = _postgres().publish(lake(), declared)
    click.echo(
        f"{table}: {sum(days.values()):,} rows of {len(days)} days published" if days else f"{table}: up to date"
    )


@features.command()
@click.argument("use_case")
@click.option("--feast", "folder", type=FolderToWrite(), required=True, help="Folder of the Feast repository.")
@click.option("--online", type=click.Choice(["sqlite", "redis"]), default="sqlite", show_default=True)
def export(use_case: str, folder: Path, online: Any) -> None:
    """Write the views of USE_CASE as a Feast repository, with their rows; its README says what Feast does not carry."""
    from convergence.cli import lake
    from convergence.features import feast_repository

    tables = _declared(use_case)
    owners = {table.table: ", ".join(_spec(table.table).owners) for table in tables}
    for view in feast_repository.export(lake(), use_case, tables, folder, owners=owners, online=online):
        click.echo(f"{view.name}: {view.rows:,} rows, {view.overtaken:,} left out that were overtaken")
    click.echo(f"Next: cd {folder} && feast apply" + (" (FEAST_REDIS names the server)" if online == "redis" else ""))


def _declared(use_case: str | None = None) -> "list[FeatureTable]":
    """The feature tables that use cases declare."""
    from convergence_assets import declared

    tables = declared(lambda one: one.views)
    found = [table for table in tables if use_case in (None, table.table.split("/")[0])]
    if not found:
        there = dict.fromkeys(table.table.split("/")[0] for table in tables)
        raise click.BadParameter(f"no use case {use_case} declares feature views; these do: {', '.join(there)}")
    return found


def _about(feature: "Feature") -> list[tuple[str, str]]:
    """Labels and lines of `features show`."""
    from convergence.cli import ROOT
    from convergence.features.catalogue import declared_at, statistics

    code = declared_at(ROOT / "convergence_assets" / feature.use_case, feature.name)
    users = [spec for spec in _specs() if any(_name(dep.asset_key) == feature.table.table for dep in spec.deps)]
    models, others = (
        [_name(s.key) for s in users if (s.tags.get("layer") == "model") is wanted] for wanted in (True, False)
    )
    newest = _newest(feature.table)
    of_newest = ""
    if newest:
        of_newest = ", ".join(f"{k} {_short(v)}" for k, v in statistics(newest[1], feature.name).items())
    return [
        (feature.name, feature.description),
        ("table", f"{feature.table.table} ({feature.kind})"),
        ("computed as", feature.definition),
        ("by", ", ".join(feature.entity)),
        ("window", feature.window + (f", ending {feature.delay} before" if feature.delay else "")),
        ("reads", ", ".join(feature.reads)),
        ("code", f"{code[0].relative_to(ROOT)}:{code[1]}" if code else "not found in the use case"),
        ("owner", ", ".join(_spec(feature.table.table).owners)),
        ("newest", newest[0] if newest else "never materialized"),
        ("statistics", of_newest),
        ("models", ", ".join(models) if feature.is_model_input else "none takes it itself"),
        ("features", ", ".join(feature.used_by)),
        ("tables", ", ".join(others)),
    ]


def _about_table(table: "FeatureTable") -> list[tuple[str, str]]:
    newest = _newest(table)
    groups = [(group.name, f"by {', '.join(group.entity)}: {', '.join(group.features)}") for group in table.groups]
    return [
        (table.table, table.view.description),
        ("owner", ", ".join(_spec(table.table).owners)),
        ("newest", newest[0] if newest else "never materialized"),
        *groups,
    ]


def _newest(table: "FeatureTable") -> "tuple[str, pl.DataFrame] | None":
    """The newest partition of a table in words, and its rows; None where there is none."""
    from convergence.cli import lake
    from convergence.lake.manifests import manifest, states

    here = lake(reading=True)
    days = states(here, [table.table])[table.table]
    if not days:
        return None
    day = max(days)
    made = manifest(here, table.table, day)
    rows = here.scan(table.table, [day] if day else None).collect()
    return f"{day or 'whole table'}, {rows.height:,} rows, committed {made['committed_at'][:19]}", rows


def _specs() -> "list[AssetSpec]":
    from convergence_assets.definitions import defs

    return list(defs.resolve_all_asset_specs())


def _spec(table: str) -> "AssetSpec":
    return next(spec for spec in _specs() if _name(spec.key) == table)


def _name(key: Any) -> str:
    return "/".join(key.path)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _store(engine: str) -> "OfflineStore":
    from convergence.cli import lake
    from convergence.features.offline import DuckDBOffline, PolarsOffline

    return (
        _postgres()
        if engine == "postgres"
        else {"polars": PolarsOffline, "duckdb": DuckDBOffline}[engine](lake(reading=True))
    )


def _postgres() -> "PostgresOffline":
    from convergence.features.offline_postgres import PostgresOffline
    from resources.environments import settings

    url = settings().postgres
    if url is None:
        raise SettingsError(
            "CONVERGENCE_POSTGRES names no server: `convergence services up postgres` starts one and says what to set"
        )
    return PostgresOffline(url.get_secret_value())
